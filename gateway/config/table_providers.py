"""`providers:` of the mapping table: which accounts there are, how each is reached, and which lack their key."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config import readers
from gateway.config.catalog import ProviderEntry, Timeouts
from gateway.config.environment import VariableFault, read_variable
from gateway.config.readers import Reader, Wrong, hinted, lacks, read_section, show
from gateway.config.yaml_tree import Node, Report, Scalar
from providers.base import Adapter

_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "adapter": readers.text("the name of an adapter", 63),
    "apiKey": readers.raw,
    "baseUrl": readers.raw,
    "timeouts": readers.raw,
    "maxConcurrency": readers.integer(1, 100_000),
}
_TIMEOUT_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "connect": readers.seconds(),
    "firstToken": readers.seconds(),
    "betweenTokens": readers.seconds(),
    "total": readers.seconds(),
}
_TIMEOUT_FIELDS: Final = {
    "connect": "connect_s",
    "firstToken": "first_token_s",
    "betweenTokens": "between_tokens_s",
    "total": "total_s",
}
_USUAL_VARIABLES: Final = {"fireworks-ai": "FIREWORKS_API_KEY", "hf-inference": "HF_TOKEN"}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RESERVED: Final = frozenset(
    # Suffixes of a model id, and first segments of our own routes.
    ("fastest", "cheapest", "preferred", "balanced", "auto", "v1", "api", "admin", "metrics", "healthz", "readyz")
)


@dataclass(slots=True)
class Providers:
    """What `providers:` declares. `names` holds the faulty and the left-out ones, too."""

    entries: dict[str, ProviderEntry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class _Unset(Exception):
    """A variable that the table names is not there; the message is the reason for `left_out`."""


def read_providers(
    node: Node | None, environ: Mapping[str, str], adapters: Mapping[str, Adapter], report: Report
) -> Providers:
    """Every declared provider; faults are reported and their providers have no entry."""
    declared = Providers()
    if node is None:
        return declared
    try:
        section = readers.as_section(node, "providers")
    except Wrong as wrong:
        report(wrong.line, wrong.what)
        return declared
    for key, value in section.items:
        declared.names.add(key.text)
        if not readers.is_provider_name(key.text) or key.text in _RESERVED:
            why = "a name that the gateway needs itself" if key.text in _RESERVED else "not a provider's name"
            report(key.line, f"{show(key.text)} is {why}, expected another one of a-z, 0-9, '.', '_' and '-'")
            continue
        try:
            entry = _provider(key, value, environ, adapters, report)
        except _Unset as unset:
            declared.left_out[key.text] = str(unset)
        except Wrong as wrong:
            report(wrong.line, wrong.what)
        else:
            if entry is not None:
                declared.entries[key.text] = entry
    return declared


def _provider(
    name: Scalar, node: Node, environ: Mapping[str, str], adapters: Mapping[str, Adapter], report: Report
) -> ProviderEntry | None:
    """The account; None where its adapter was reported to be no name. Raises Wrong and _Unset."""
    where = f"providers.{name.text}"
    fields = read_section(node, where, _KEYS, report)
    if "adapter" not in fields and not lacks(node, "adapter"):
        return None
    adapter = _adapter(name, fields.get("adapter"), adapters)
    timeouts = Timeouts()
    if "timeouts" in fields:
        given = read_section(fields["timeouts"], f"{where}.timeouts", _TIMEOUT_KEYS, report)
        timeouts = Timeouts(**{_TIMEOUT_FIELDS[key]: value for key, value in given.items()})
    base_url = adapter.base_url
    if "baseUrl" in fields:
        address = _expanded(fields["baseUrl"], f"{where}.baseUrl", environ)
        base_url = readers.base_url(address, fields["baseUrl"].line, f"{where}.baseUrl")
    elif not base_url:
        raise Wrong(name.line, f"{where} has no baseUrl, expected one, since its adapter has none of its own")
    api_key = None
    if "apiKey" in fields:
        api_key = _api_key(fields["apiKey"], where, environ)
    elif "baseUrl" not in fields:
        # A server of one's own may need no key; a provider in its usual place always does.
        raise _Unset("the table gives no apiKey")
    return ProviderEntry(name.text, adapter, base_url, api_key, timeouts, fields.get("maxConcurrency"))


def _adapter(name: Scalar, chosen: str | None, adapters: Mapping[str, Adapter]) -> Adapter:
    found = adapters.get(chosen or name.text)
    if found is not None:
        return found
    known = ", ".join(sorted(adapters))
    if chosen is not None:
        what = f"providers.{name.text}.adapter is {show(chosen)}, expected one of {known}"
        raise Wrong(name.line, hinted(what, chosen, adapters))
    what = f"no adapter is called {show(name.text)}, expected that name or `adapter:` with one of {known}"
    raise Wrong(name.line, hinted(what, name.text, adapters))


def _expanded(node: Node, where: str, environ: Mapping[str, str]) -> str:
    """The text with every `${NAME}` replaced. Raises _Unset where one has no value."""
    if not isinstance(node, Scalar) or node.is_nothing or not node.text.strip():
        raise Wrong(node.line, f"{where} is not a text, expected a text or ${{NAME}}")
    if "${" in _REFERENCE.sub("", node.text):
        raise Wrong(node.line, f"{where} has a broken reference, expected ${{NAME}} with a variable's name")

    def value_of(match: re.Match[str]) -> str:
        try:
            value = read_variable(environ, match[1])
        except VariableFault as fault:
            raise _Unset(str(fault)) from fault
        if value is None:
            raise _Unset(f"{match[1]} is not set")
        return value

    return _REFERENCE.sub(value_of, node.text)


def _api_key(node: Node, where: str, environ: Mapping[str, str]) -> str:
    key = _expanded(node, f"{where}.apiKey", environ)
    if not re.fullmatch(r"[!-~]+", key):
        raise Wrong(node.line, f"{where}.apiKey holds blanks or characters outside ASCII, expected a key")
    return key


def key_variable(adapter: str) -> str:
    """The variable in which people keep the key of a provider."""
    return _USUAL_VARIABLES.get(adapter) or f"{adapter.upper().replace('-', '_')}_API_KEY"


def unknown_provider(name: str, declared: Collection[str], adapters: Collection[str]) -> str:
    """Why a name cannot be used where a provider is expected, and what to do about it."""
    if name in adapters:
        return (
            f"provider {show(name)} is not declared, expected it under providers:, "
            f"such as `{name}: {{apiKey: ${{{key_variable(name)}}}}}`"
        )
    known = ", ".join(sorted(declared)) or "none is declared"
    return hinted(f"no provider is called {show(name)}, expected one of providers: ({known})", name, declared)
