"""A value that is valid for a JSON schema, for simulated structured answers and tool arguments.

Covers what tools and response formats use (types, properties, items, enum, const, anyOf, local $ref, bounds,
patterns, common formats) and is deterministic. Not a validator, and no general solver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from gateway.simulator.regex_values import matching

DEPTH_OF_OPTIONAL: Final = 4
"""Beyond this depth only required properties are filled, so that recursive schemas end."""
DEPTH_MAX: Final = 24

_FORMATS: Final = {
    "date": "2026-11-23",
    "date-time": "2026-11-23T12:00:00Z",
    "time": "12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "12345678-1234-4234-8234-123456789abc",
    "ipv4": "192.0.2.1",
}


def valid_value(schema: Any, hint: str = "value") -> Any:
    """A value valid for `schema`; `hint` colours strings. Raises ValueError where no value can exist."""
    return _value(schema, schema, hint, 0)


def _resolved(reference: str, root: Any) -> Any:
    if not reference.startswith("#"):
        raise ValueError(f"only local references: {reference}")
    found = root
    for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise ValueError(f"{reference} leads nowhere")
        found = found[name]
    return found


def _value(schema: Any, root: Any, hint: str, depth: int) -> Any:
    if schema is False or depth > DEPTH_MAX:
        raise ValueError("no value is valid for this schema")
    if not isinstance(schema, Mapping):
        return hint
    if "$ref" in schema:
        return _value(_resolved(schema["$ref"], root), root, hint, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _first_possible(schema, key, root, hint, depth)
    if schema.get("allOf"):
        return _value(_merged(schema, root), root, hint, depth + 1)
    return _TYPES[_type_of(schema)](schema, root, hint, depth)


def _first_possible(schema: Mapping[str, Any], key: str, root: Any, hint: str, depth: int) -> Any:
    """The first branch with a value; deep down the shortest way out, `null`, is tried first."""
    rest = {name: value for name, value in schema.items() if name != key}
    branches = list(schema[key])
    if depth >= DEPTH_OF_OPTIONAL:
        branches.sort(key=lambda branch: branch != {"type": "null"})
    for branch in branches:
        whole = {**rest, **branch} if isinstance(branch, Mapping) and rest and "$ref" not in branch else branch
        try:
            return _value(whole, root, hint, depth + 1)
        except ValueError:
            continue
    raise ValueError(f"no branch of {key} has a value")


def _merged(schema: Mapping[str, Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        whole = _resolved(part["$ref"], root) if "$ref" in part else part
        if "allOf" in whole:
            whole = _merged(whole, root)
        properties = {**merged.get("properties", {}), **whole.get("properties", {})}
        required = [*merged.get("required", []), *whole.get("required", [])]
        merged.update(whole)
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def _type_of(schema: Mapping[str, Any]) -> str:
    named = schema.get("type")
    if isinstance(named, list):
        named = next((kind for kind in named if kind != "null"), "null")
    if isinstance(named, str) and named in _TYPES:
        return named
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema:
        return "number"
    return "string"


def _object(schema: Mapping[str, Any], root: Any, hint: str, depth: int) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or []
    made: dict[str, Any] = {}
    for name, inner in properties.items():
        if name in required:
            made[name] = _value(inner, root, f"{hint} {name}", depth + 1)
        elif depth < DEPTH_OF_OPTIONAL:
            try:
                made[name] = _value(inner, root, f"{hint} {name}", depth + 1)
            except ValueError:
                continue
    extra = schema.get("additionalProperties", True)
    for name in required:
        if name not in made:
            made[name] = _value(extra, root, f"{hint} {name}", depth + 1)
    return made


def _array(schema: Mapping[str, Any], root: Any, hint: str, depth: int) -> list[Any]:
    made = [_value(inner, root, hint, depth + 1) for inner in schema.get("prefixItems") or ()]
    items = schema.get("items", True)
    wanted = max(int(schema.get("minItems", 0)), 0 if depth >= DEPTH_OF_OPTIONAL else 1)
    wanted = min(wanted, int(schema.get("maxItems", wanted)))
    while len(made) < wanted and items is not False:
        value = _value(items, root, hint, depth + 1)
        if schema.get("uniqueItems") and value in made:
            value = f"{value} {len(made)}" if isinstance(value, str) else value + len(made)
        made.append(value)
    return made


def _string(schema: Mapping[str, Any], _root: Any, hint: str, _depth: int) -> str:
    if isinstance(schema.get("pattern"), str):
        return matching(schema["pattern"])
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = hint.ljust(int(schema.get("minLength", 0)), "x")
    return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: Mapping[str, Any], _root: Any, _hint: str, _depth: int) -> float:
    return _bounded(schema, step=0.5)


def _integer(schema: Mapping[str, Any], _root: Any, _hint: str, _depth: int) -> int:
    return round(_bounded(schema, step=1))


def _bounded(schema: Mapping[str, Any], step: float) -> float:
    """The smallest multiple of the step within the bounds, 1 where there are none."""
    unit: float = schema.get("multipleOf") or step
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(above, int | float) and not isinstance(above, bool):
        low = max(value for value in (low, math.floor(above / unit) * unit + unit) if value is not None)
    if isinstance(below, int | float) and not isinstance(below, bool):
        high = min(value for value in (high, math.ceil(below / unit) * unit - unit) if value is not None)
    if low is not None:
        fitted: float = math.ceil(low / unit) * unit
        return float(low) if high is not None and fitted > high and "multipleOf" not in schema else fitted
    if high is not None and high < unit:
        return float(math.floor(high / unit) * unit)
    return unit


_TYPES: Final[dict[str, Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": lambda _schema, _root, _hint, _depth: True,
    "null": lambda _schema, _root, _hint, _depth: None,
}
