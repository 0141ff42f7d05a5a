// OpenTelemetry's JavaScript SDK with its OTLP/HTTP exporter: JSON.
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const { NAME, COUNT, GATEWAY, TOKEN } = process.env;
const exporter = new OTLPLogExporter({
  url: `${GATEWAY}/v1/logs`,
  headers: { Authorization: `Bearer ${TOKEN}` },
});
const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter })] });
const logger = provider.getLogger("shop");
for (let n = 0; n < Number(COUNT); n++) {
  logger.emit({ severityNumber: 17, severityText: "ERROR", body: `${NAME} ${n}`, attributes: { n } });
}
await provider.shutdown();
