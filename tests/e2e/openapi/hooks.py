"""What schemathesis is to know beside the description: what there is to be found, and what no schema can say."""

import json
import os

import schemathesis
from schemathesis.generation import GenerationMode

# A rocket with a history, a gap and a dead letter, made by the test.
CHANNEL = os.environ["KNOWN_CHANNEL"]
FILES = {"/page/{file}": "main.js", "/docs/{file}": "index.html"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Has requests that are right ask for what is there, and leaves out what only the service can make or other parameters exclude."""
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    path, query = case.path_parameters or {}, case.query or {}
    if "file" in path:
        path["file"] = FILES[case.operation.path]
    if path.get("channel", "")[-1:] in list("02468ace"):
        path["channel"] = CHANNEL
    for name in {"id", "event_id"} & path.keys():
        path[name] = int(path[name]) % 20
    query.pop("cursor", None)
    if "at" in query:
        query.clear()
        query["at"] = "1"
    if "after" not in query and case.operation.path == "/rockets/{channel}":
        query.pop("wait", None)


@schemathesis.hook
def filter_body(context, body):
    """To JSON Schema 1.0 is an integer. To the service it is none: who would say which one 1e300 is?"""
    return not has_round_float(body)


def has_round_float(value):
    if isinstance(value, dict):
        return any(has_round_float(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_round_float(inner) for inner in value)
    return isinstance(value, float) and value.is_integer()


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """A list as a value on each line; what is none as one."""
    return "\n".join(json.dumps(item) for item in (value if isinstance(value, list) else [value])).encode()
