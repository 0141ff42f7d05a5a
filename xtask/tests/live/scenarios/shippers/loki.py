"""python-logging-loki, which sends each line by itself."""

import logging
import os
import time

import logging_loki

name, count = os.environ["NAME"], int(os.environ["COUNT"])
pace = float(os.environ["PACE"])
handler = logging_loki.LokiHandler(
    url=os.environ["GATEWAY"] + "/loki/api/v1/push",
    tags={"app": name},
    auth=tuple(os.environ["TOKEN"].split(".", 1)),
    version="1",
)
# The handler tells what went wrong nowhere else.
if pace == 0:
    handler.handleError = lambda record: os._exit(1)
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(handler)
for n in range(count):
    logger.error("%s %d", name, n)
    time.sleep(pace)
