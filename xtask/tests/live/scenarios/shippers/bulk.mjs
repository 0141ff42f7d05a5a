// Elasticsearch's JavaScript client and its bulk helper.
import { setTimeout } from "node:timers/promises";
import { Client } from "@elastic/elasticsearch";

const { NAME, COUNT, GATEWAY, ENCODED, PACE } = process.env;
const client = new Client({ node: GATEWAY, auth: { apiKey: ENCODED } });
async function* documents() {
  for (let n = 0; n < Number(COUNT); n++) {
    yield { "@timestamp": "2026-01-31T08:00:00Z", message: `${NAME} ${n}`, log: { level: "error" }, n };
    await setTimeout(Number(PACE) * 1000);
  }
}
const result = await client.helpers.bulk({
  datasource: documents(),
  flushBytes: Number(PACE) === 0 ? 5_000_000 : 1_000,
  retries: 10,
  onDocument: (document) => ({ index: { _index: "app", _id: `${NAME}-${document.n}` } }),
});
if (result.successful !== Number(COUNT) || result.failed !== 0) {
  throw new Error(JSON.stringify(result));
}
