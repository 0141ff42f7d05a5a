"""rsyslog: imfile reads a file, omelasticsearch sends bulks; the line's place in the file is its id."""

import os
from urllib.parse import urlparse

from daemon import follow

gateway = urlparse(os.environ["GATEWAY"])
user, password = os.environ["TOKEN"].split(".", 1)
CONFIGURATION = """
global(workDirectory="{directory}")
module(load="imfile" mode="polling" pollingInterval="1")
module(load="omelasticsearch")
template(name="event" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
  property(outname="level" name="syslogseverity-text" format="jsonf")
  property(outname="hostname" name="hostname" format="jsonf")
}}
template(name="id" type="string" string="{name}-%$!metadata!fileoffset%")
ruleset(name="again") {{ stop }}
input(type="imfile" File="{lines}" Tag="app:" Severity="error" addMetadata="on")
action(
  type="omelasticsearch" server="http://{host}" serverport="{port}" uid="{user}" pwd="{password}"
  template="event" searchIndex="app" searchType="" bulkmode="on" maxbytes="64k"
  dynbulkid="on" bulkid="id" writeoperation="create"
  queue.type="LinkedList" queue.timeoutShutdown="20000" queue.dequeueBatchSize="100"
  action.resumeRetryCount="-1" action.resumeInterval="1"
)
"""


def command(root, directory):
    modules = f"{root}/usr/lib/x86_64-linux-gnu/rsyslog"
    configuration, pid = f"{directory}/rsyslog.conf", f"{directory}/pid"
    return [f"{root}/usr/sbin/rsyslogd", "-n", "-f", configuration, "-i", pid, "-M", modules]


follow(
    "rsyslog.conf",
    CONFIGURATION,
    command,
    host=gateway.hostname,
    port=gateway.port,
    user=user,
    password=password,
)
