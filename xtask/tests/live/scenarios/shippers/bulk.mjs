// Elasticsearch's JavaScript client and its bulk helper.
import { Client } from "@elastic/elasticsearch";

const { NAME, COUNT, GATEWAY, ENCODED } = process.env;
const client = new Client({ node: GATEWAY, auth: { apiKey: ENCODED } });
const documents = Array.from({ length: Number(COUNT) }, (_, n) => ({
  "@timestamp": "2026-01-31T08:00:00Z",
  message: `${NAME} ${n}`,
  log: { level: "error" },
  n,
}));
const result = await client.helpers.bulk({
  datasource: documents,
  onDocument: (document) => ({ index: { _index: "app", _id: `${NAME}-${document.n}` } }),
});
if (result.successful !== documents.length || result.failed !== 0) {
  throw new Error(JSON.stringify(result));
}
