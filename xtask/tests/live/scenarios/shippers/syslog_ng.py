"""syslog-ng: a file is read, and http() sends one JSON object a line; its number of the message is the id."""

import os

from daemon import follow

CONFIGURATION = """@version: 3.38
options {{ stats-freq(0); log-fifo-size(100000); use-uniqid(yes); }};
source lines {{ file("{lines}" flags(no-parse) follow-freq(0.2)); }};
destination gateway {{
  http(
    url("{gateway}/logs") method("POST")
    headers("Authorization: Bearer {token}", "Content-Type: application/x-ndjson")
    body("$(format-json eventId=$UNIQID message=$MSG level=error hostname=$HOST)")
    delimiter("\\n") batch-lines(50) batch-timeout(100) time-reopen(1) retries(100)
  );
}};
log {{ source(lines); destination(gateway); flags(flow-control); }};
"""


def command(root, directory):
    return [
        f"{root}/usr/sbin/syslog-ng",
        "--foreground",
        "--no-caps",
        f"--cfgfile={directory}/syslog-ng.conf",
        f"--persist-file={directory}/persist",
        f"--control={directory}/control",
        f"--pidfile={directory}/pid",
        f"--module-path={root}/usr/lib/syslog-ng/3.38",
    ]


follow(
    "syslog-ng.conf",
    CONFIGURATION,
    command,
    gateway=os.environ["GATEWAY"],
    token=os.environ["TOKEN"],
)
