// OpenTelemetry's JavaScript SDK with its OTLP/HTTP exporter: JSON.
import { setTimeout } from "node:timers/promises";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const { NAME, COUNT, GATEWAY, TOKEN, PACE } = process.env;
const exporter = new OTLPLogExporter({
  url: `${GATEWAY}/v1/logs`,
  headers: { Authorization: `Bearer ${TOKEN}` },
});
const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter, scheduledDelayMillis: 100 })] });
const logger = provider.getLogger("shop");
for (let n = 0; n < Number(COUNT); n++) {
  logger.emit({ severityNumber: 17, severityText: "ERROR", body: `${NAME} ${n}`, attributes: { n } });
  await setTimeout(Number(PACE) * 1000);
}
await provider.shutdown();
