"""Makes the texts that OpenAPI cannot describe (`format: logflow-…`), and parameters that go together.

Schemathesis loads it. What is made here is valid, so the API must take it; what is not valid it makes by itself.
"""

import json
import os
import urllib.request
from datetime import datetime, timezone

import jsonschema_rs
import schemathesis
from hypothesis import strategies as st

API = os.environ["LOGFLOW_API"]
INDEX = os.environ["LOGFLOW_INDEX"]
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def events_there_are():
    """Ids and traces of some with a trace, because what is made up is not found."""
    request = urllib.request.Request(f"{API}/api/v1/search", b'{"q": "traceId:*", "limit": 20}', {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        hits = json.load(reply)["hits"]
    return [hit["id"] for hit in hits], [hit["event"]["traceId"] for hit in hits]


def queries():
    """Queries of all forms in docs/query-language.md, within their bounds."""
    name = st.from_regex(r"[a-z][a-z0-9]{2,9}", fullmatch=True)
    free = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    phrase = free.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    value = name | phrase
    field = st.sampled_from(["level", "resourceId", "traceId", "commit", "message", "status", "metadata.region", "a.b"])
    number = st.integers(-(2**53), 2**53).map(str) | st.sampled_from(["0", "12.5", "-1e3"])
    operator = st.sampled_from([":", ">", ">=", "<", "<="])
    test = st.one_of(
        value,
        st.builds("{}:{}".format, field, value),
        st.builds("{}:*".format, field),
        st.builds("{}:{}*".format, field, name),
        st.builds("status{}{}".format, operator, number),
        st.builds("status:[{} TO *]".format, number),
        st.builds("level{}{}".format, operator, st.sampled_from(["trace", "debug", "info", "warn", "error", "alert"])),
        st.builds("timestamp{}{}".format, operator, st.sampled_from(["2023-09-15", "now-15m"])),
        st.builds("level:({} OR {})".format, name, name),
    )
    join = st.sampled_from([" ", " AND ", " OR ", " -", " NOT "])

    def larger(part):
        return st.builds("({})".format, part) | st.builds("{}{}{}".format, part, join, part)

    return st.just("") | st.recursive(test, larger, max_leaves=6)


def moments():
    count = st.integers(0, 1_000)
    day = st.dates(datetime(1971, 1, 1).date(), datetime(2030, 1, 1).date()).map(str)
    return st.one_of(
        day,
        st.builds("{}T08:00:00{}".format, day, st.sampled_from(["Z", ".5Z", ".123456789Z", "+02:00"])),
        st.integers(0, 2_000_000_000).map(str),
        st.just("now"),
        st.builds("now-{}{}".format, count, st.sampled_from(sorted(SECONDS))),
    )


def seconds(text):
    """When that is, roughly; `None` if it is no moment."""
    text = str(text).strip()
    try:
        if text.startswith("now"):
            past = int(text[4:-1]) * SECONDS[text[-1]] if len(text) > 3 else 0
            return datetime.now(timezone.utc).timestamp() - past
        if text.replace(".", "").replace("e-", "").isdigit():
            return float(text)
        moment = datetime.fromisoformat(text.replace(".123456789", ".123456"))
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (KeyError, OverflowError, ValueError):
        return None


IDS, TRACES = events_there_are()
NAMES = ["level", "resourceId", "commit", "traceId", "metadata.region", "status", "no.such.field"]
# What a made-up cursor would be is refused; `paging` follows real ones.
schemathesis.openapi.format("logflow-cursor", st.just(""))
schemathesis.openapi.format("logflow-columns", st.lists(st.sampled_from(NAMES), max_size=9).map(",".join))
schemathesis.openapi.format("logflow-event-id", st.sampled_from(IDS) | st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True))
schemathesis.openapi.format("logflow-field", st.sampled_from(NAMES))
schemathesis.openapi.format("logflow-index", st.sampled_from([INDEX, INDEX.replace("*", "2023.09.15"), "other-*"]))
schemathesis.openapi.format("logflow-moment", moments())
schemathesis.openapi.format("logflow-names", st.lists(st.sampled_from(["*", "level", "metadata.*"]), min_size=1, max_size=3).map(",".join))
# What repeats itself a hundred times is refused, as the description says.
schemathesis.openapi.format("logflow-part", st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
schemathesis.openapi.format("logflow-position", st.dictionaries(st.integers(0, 9), st.integers(0, 2**40), max_size=4).map(lambda read: ",".join(f"{at}:{to}" for at, to in read.items())))
schemathesis.openapi.format("logflow-query", queries())
searches = st.sampled_from(["{}", json.dumps({"index": INDEX})])
bodies = st.sampled_from(["{}", '{"size":0}', '{"query":{"match_all":{}},"size":3}', '{"aggs":{"a":{"terms":{"field":"level"}}},"size":0}'])
schemathesis.openapi.format("logflow-searches", st.lists(st.builds("{}\n{}\n".format, searches, bodies), min_size=1, max_size=3).map("".join))
schemathesis.openapi.format("logflow-trace-id", st.sampled_from(TRACES) | st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True))


def agree(given, path):
    """The first moment comes first, as a number it is one of seconds, and what goes with another parameter has it."""
    for first, last in [("from", "to"), ("startDate", "endDate")]:
        for name in (first, last):
            if isinstance(given.get(name), (int, float)) and given[name] > 2_000_000_000:
                given[name] %= 2_000_000_000
        if first in given and last in given:
            since, until = seconds(given[first]), seconds(given[last])
            if since is not None and until is not None and since > until:
                given[first], given[last] = (str(given[last]), str(given[first]))
    if "metadata.parentResourceId" in given:
        given.pop("parentResourceId", None)
    if given.get("fields") and path == "/api/v1/export":
        given["format"] = "csv"


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode.is_positive:
        for given in (case.query, case.body):
            if isinstance(given, dict):
                agree(given, case.operation.path)


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@schemathesis.hook
def after_load_schema(context, schema):
    """The examples are what they are examples of."""
    raw = schema.raw_schema
    for path, operations in raw["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for media_type, form in response.get("content", {}).items():
                    if "example" in form and "schema" in form:
                        whole = {"components": raw["components"], **form["schema"]}
                        try:
                            jsonschema_rs.validator_for(whole).validate(form["example"])
                        except jsonschema_rs.ValidationError as error:
                            raise AssertionError(f"the example of {method} {path}, {status}, {media_type}: {error}") from error
