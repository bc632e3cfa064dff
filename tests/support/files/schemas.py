"""The schemas of what commands print for programs. Whatever a test has a command print is held to them."""

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource

SCHEMAS = Path(__file__).resolve().parents[3] / "docs/reference/schemas"
KINDS = sorted(file.stem for file in SCHEMAS.glob("*.json") if file.stem != "common")

Schema = dict[str, Any]

_HEAD = ("schemaVersion", "kind", "toolVersion", "host", "root")


def members(text: str) -> dict[str, Any]:
    """What a document holds below its head."""
    document = json.loads(text)
    return {key: value for key, value in document.items() if key not in _HEAD}


def schema(name: str) -> Schema:
    document: Schema = json.loads((SCHEMAS / f"{name}.json").read_bytes())
    return document


def check(name: str) -> None:
    """Raise jsonschema's SchemaError if it is not a schema."""
    Draft202012Validator.check_schema(schema(name))


@functools.cache
def validator(kind: str) -> Draft202012Validator:
    resource: Resource[Any] = Resource.from_contents(schema("common"))
    return Draft202012Validator(schema(kind), registry=Registry().with_resource("common.json", resource))


def problem(document: Any) -> str:
    """What is wrong with a document, "" if it is as its schema says."""
    if not isinstance(document, dict) or document.get("kind") not in KINDS:
        return f"no schema of that kind: {document}"
    error = best_match(validator(document["kind"]).iter_errors(document))
    return "" if error is None else f"{document['kind']}: {error.json_path}: {error.message}"
