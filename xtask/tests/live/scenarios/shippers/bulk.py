"""Elasticsearch's Python client and its bulk helper."""

import os
import time

from elasticsearch import Elasticsearch, helpers

name, count = os.environ["NAME"], int(os.environ["COUNT"])
pace = float(os.environ["PACE"])
client = Elasticsearch(os.environ["GATEWAY"], api_key=os.environ["ENCODED"])
assert client.info()["tagline"] == "You Know, for Search"


def action(n):
    time.sleep(pace)
    return {
        "_op_type": "create" if n % 2 else "index",
        "_index": "app",
        "_id": f"{name}-{n}",
        "_source": {
            "@timestamp": "2026-01-31T08:00:00Z",
            "message": f"{name} {n}",
            "log": {"level": "error"},
            "service": {"name": name},
        },
    }


actions = map(action, range(count))
chunk = 100 if pace == 0 else 10
written, errors = helpers.bulk(client, actions, chunk_size=chunk, max_retries=10)
assert (written, errors) == (count, []), (written, errors)
