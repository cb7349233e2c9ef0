"""Whether a value keeps to a JSON schema: the few words that the tests' schemas are made of, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TYPES: Final = {"string": "str", "integer": "int", "boolean": "bool", "array": "list", "object": "dict"}
"""By JSON's name, Python's: a boolean is no integer."""
_WORDS: Final = frozenset({"type", "enum", "properties", "required", "additionalProperties", "items"})


def check(value: Any, schema: Mapping[str, Any], where: str = "$") -> None:
    """AssertionError with the place where it does not."""
    assert schema.keys() <= _WORDS, f"{where}: a schema with {schema.keys() - _WORDS}"
    assert type(value).__name__ == _TYPES[schema["type"]], f"{where}: {value!r} is no {schema['type']}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r} is none of {schema['enum']}"
    if schema["type"] == "array":
        assert value, f"{where}: an empty list shows nothing"
        for at, item in enumerate(value):
            check(item, schema["items"], f"{where}[{at}]")
    if schema["type"] == "object":
        assert value.keys() >= set(schema["required"]), f"{where}: {value!r} lacks one of {schema['required']}"
        assert value.keys() <= schema["properties"].keys(), f"{where}: {value!r} has more than {schema['properties']}"
        for name, part in value.items():
            check(part, schema["properties"][name], f"{where}.{name}")
