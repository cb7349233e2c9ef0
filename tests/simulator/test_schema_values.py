"""Values made for a schema are valid for it, by a small validator that shares no code with the maker."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.regex_values import matching
from gateway.simulator.schema_values import valid_value

KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def valid(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value follows a schema, as far as these tests use schemas."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[part] if part else target
        return valid(value, target, root)
    checks = [
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
        "anyOf" not in schema or any(valid(value, branch, root) for branch in schema["anyOf"]),
        all(valid(value, part, root) for part in schema.get("allOf", ())),
    ]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds:
        checks.append(any(isinstance(value, KINDS[kind]) for kind in kinds))
        checks.append(not isinstance(value, bool) or "boolean" in kinds)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        checks += [valid(item, properties.get(name, True), root) for name, item in value.items()]
        checks += [name in value for name in schema.get("required", ())]
    if isinstance(value, list):
        checks += [valid(item, schema.get("items", True), root) for item in value]
        checks.append(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 99))
    if isinstance(value, str):
        checks.append(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 9999))
        checks.append("pattern" not in schema or re.search(schema["pattern"], value) is not None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        checks.append(schema.get("minimum", value) <= value <= schema.get("maximum", value))
        checks.append("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        checks.append("multipleOf" not in schema or value % schema["multipleOf"] == 0)
    return all(checks)


NUMBERS = st.tuples(st.integers(-50, 50), st.integers(0, 50))
LEAVES = st.one_of(
    NUMBERS.map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[0] + b[1]}),
    NUMBERS.map(lambda b: {"type": "number", "minimum": b[0] / 4, "maximum": (b[0] + b[1]) / 4}),
    st.integers(-9, 9).map(lambda n: {"type": "integer", "exclusiveMinimum": n, "multipleOf": 3}),
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(
        lambda n: {"type": "string", "minLength": n[0], "maxLength": n[0] + n[1]}
    ),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["string", "null"]},
            {"enum": ["a", 2, None]},
            {"const": {"x": 1}},
            {"type": "string", "pattern": "^[A-Z]{2}-\\d+$"},
            {"type": "string", "format": "date"},
            {"type": "number"},
            {},
        ]
    ),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b", "é", "d e"]), inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p, "required": list(p)[:2], "additionalProperties": False}
        ),
        st.tuples(inner, st.integers(0, 3), st.integers(0, 3)).map(
            lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[1] + t[2]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS)
def test_values_are_valid(schema: Any) -> None:
    assert valid(valid_value(schema), schema, schema)


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "rest": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "left"],
        }
    },
    "$ref": "#/$defs/node",
}
MERGED = {
    "allOf": [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"properties": {"b": {"type": "string"}}, "required": ["b"]},
    ]
}


@pytest.mark.parametrize("schema", [TREE, MERGED])
def test_references_and_merges(schema: Any) -> None:
    assert valid(valid_value(schema), schema, schema)


def test_impossible_schemas_are_said_to_be() -> None:
    with pytest.raises(ValueError, match="no value"):
        valid_value({"type": "object", "properties": {"a": False}, "required": ["a"]})


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d{3}-\d{4}",
        r"(yes|no)",
        r"^[^a-z1]+$",
        r"(ab){2,3}c?",
        r"a*b+[x-z]",
        r"\w+@\w+\.com",
        r"(a)\1",
        r"[^\d\s]{2}.",
    ],
)
def test_strings_match_their_pattern(pattern: str) -> None:
    assert re.fullmatch(pattern, matching(pattern))
