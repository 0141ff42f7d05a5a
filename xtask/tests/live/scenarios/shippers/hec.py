"""splunk_handler, a client of Splunk's HTTP Event Collector."""

import logging
import os
import time
from urllib.parse import urlparse

from splunk_handler import SplunkHandler

name, count = os.environ["NAME"], int(os.environ["COUNT"])
pace = float(os.environ["PACE"])
gateway = urlparse(os.environ["GATEWAY"])
handler = SplunkHandler(
    host=gateway.hostname,
    port=gateway.port,
    protocol="http",
    verify=False,
    token=os.environ["TOKEN"],
    index="main",
    hostname=name,
    flush_interval=0.1,
    retry_count=3,
)
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(handler)
for n in range(count):
    logger.error("%s %d", name, n)
    time.sleep(pace)
logging.shutdown()
