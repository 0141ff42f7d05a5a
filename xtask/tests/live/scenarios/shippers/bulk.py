"""Elasticsearch's Python client and its bulk helper."""

import os

from elasticsearch import Elasticsearch, helpers

name, count = os.environ["NAME"], int(os.environ["COUNT"])
client = Elasticsearch(os.environ["GATEWAY"], api_key=os.environ["ENCODED"])
assert client.info()["tagline"] == "You Know, for Search"
actions = (
    {
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
    for n in range(count)
)
written, errors = helpers.bulk(client, actions, chunk_size=100, max_retries=3)
assert (written, errors) == (count, []), (written, errors)
