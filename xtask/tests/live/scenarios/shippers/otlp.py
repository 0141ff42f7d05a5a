"""OpenTelemetry's Python SDK with its OTLP/HTTP exporter: protobuf, gzip, batches."""

import logging
import os
import time

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

name, count = os.environ["NAME"], int(os.environ["COUNT"])
pace = float(os.environ["PACE"])
exporter = OTLPLogExporter(
    endpoint=os.environ["GATEWAY"] + "/v1/logs",
    headers={"Authorization": "Bearer " + os.environ["TOKEN"]},
    compression=Compression.Gzip,
)
provider = LoggerProvider(resource=Resource.create({"service.name": name}))
provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=100))
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=provider))
for n in range(count):
    logger.error("%s %d", name, n, extra={"attempt": n})
    time.sleep(pace)
provider.shutdown()
