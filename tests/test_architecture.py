"""The rules of the house: no circles, no import upwards, outside libraries in their rooms, one file per provider."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from gateway.simulator.registry import HOUSES
from providers.registry import ADAPTERS
from tests.architecture import ROOT, Module, circles, floors, read_modules, room_of

MODULES: Final = read_modules()

MAY_KNOW: Final[Mapping[str, tuple[str, ...]]] = {
    "providers": (),
    # The log names a request's failures in the words of the wire.
    "ground": ("providers.wire",),
    "simulator": (),
    "config": ("ground", "providers"),
    "dialects": ("ground", "gateway.ask", "providers"),
    "routing": ("ground", "config", "gateway.ask", "providers"),
    # Of what is offered the door to providers reads one value: how a provider is reached.
    "upstream": ("ground", "gateway.config.catalog", "providers"),
    "journal": ("ground",),
    "store": ("ground", "journal"),
    "story": ("ground", "config", "routing", "upstream", "journal", "store", "providers"),
    "web": ("ground", "config", "dialects", "routing", "journal", "gateway.store.base", "story", "providers"),
    "app": ("ground", "config", "routing", "upstream", "journal", "store", "story", "dialects", "web", "providers"),
    "cli": (
        "ground", "config", "routing", "upstream", "journal", "store", "story", "dialects", "web", "app", "simulator",
        "providers",
    ),
}  # fmt: skip
"""By room: the rooms, or single modules, that it may import. Itself it always may."""

LIBRARIES: Final[Mapping[str, tuple[str, ...]]] = {
    # Its parser stands on both sides: towards providers, and under uvicorn's protocol.
    "httptools": ("gateway.upstream", "gateway.cli.http_protocol"),
    "httpx": ("gateway.upstream",),
    # Bytes become values here: the wire's words, the stream's events, the journal's lines, the store's rows.
    "msgspec": (
        "providers.wire", "providers.views", "gateway.journal.entries", "gateway.store.documents",
        "gateway.store.redis.ledger", "gateway.store.sqlite",
        # And values that are made for every attempt, where a frozen dataclass costs too much.
        "gateway.records", "gateway.outcomes", "gateway.metering", "gateway.opening",
        "gateway.routing.situation", "gateway.routing.offerings", "gateway.routing.decision",
        # And what workers tell each other of providers.
        "gateway.health_beat",
    ),
    # The supervisor tells the metrics of a worker that died.
    "prometheus_client": ("gateway.metrics", "gateway.cli.supervisor"),
    "redis": ("gateway.store.redis",),
    "sqlite3": ("gateway.store.sqlite",),
    "starlette": ("gateway.web", "gateway.app", "gateway.simulator.app"),
    "tenacity": ("gateway.failover",),
    "uvicorn": ("gateway.cli", "gateway.simulator.server"),
    "uvloop": ("gateway.cli", "gateway.simulator.server"),
    "yaml": ("gateway.config",),
}  # fmt: skip
"""By library from outside: the rooms and modules that may know it. What is not listed may be imported nowhere."""

SETTING_NAME: Final = re.compile(r"GATEWAY_[A-Z_]+|REDIS_URL|HF_ENDPOINT|HTTPS_PROXY|SSL_CERT_FILE")
WRITES: Final = frozenset({"pwrite", "pwritev", "writev", "fdatasync", "fsync", "ftruncate", "truncate"})
LINES_MAX: Final = 450


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def test_no_module_reaches_itself() -> None:
    assert circles(MODULES) == []


def test_a_circle_would_be_found() -> None:
    def module(name: str, *project: str) -> Module:
        return Module(name, ROOT, frozenset(project), frozenset(), frozenset(), ast.Module([], []))

    round_trip = {m.name: m for m in (module("a", "b"), module("b", "c"), module("c", "b"), module("d", "a"))}
    assert [name for name, *_ in circles(round_trip)] == ["b", "c"]
    stairs = {m.name: m for m in (module("a", "b", "c"), module("b", "c"), module("c"))}
    assert circles(stairs) == []
    assert floors(stairs) == {"a": 2, "b": 1, "c": 0}


def test_every_room_knows_only_what_stands_below() -> None:
    wrong = []
    for module in MODULES.values():
        room = room_of(module.name)
        for target in sorted(module.project):
            known = room_of(target)
            if known != room and known not in MAY_KNOW[room] and not _within(target, MAY_KNOW[room]):
                wrong.append(f"{module.name} ({room}) imports {target} ({known})")
    assert wrong == []


def test_the_simulator_is_known_to_the_demo_alone() -> None:
    knowing = {m.name for m in MODULES.values() if any(_within(target, ("gateway.simulator",)) for target in m.project)}
    assert {name for name in knowing if not name.startswith("gateway.simulator")} == {"gateway.cli.demo"}


def test_the_cellar_is_pure() -> None:
    """Providers convert; whoever opens a socket or a file, waits or draws a number stands elsewhere."""
    acting = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "ssl", "subprocess", "threading"}
    found = {m.name: m.standard & acting for m in MODULES.values() if room_of(m.name) == "providers"}
    # An answer that came without an id gets one, since clients refuse it otherwise.
    assert {name: names for name, names in found.items() if names} == {"providers.answers": {"secrets"}}


def test_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{module.name} imports {library}"
        for module in MODULES.values()
        for library in sorted(module.outside)
        if not _within(module.name, LIBRARIES.get(library, ()))
    ]
    assert wrong == []


def test_every_required_library_is_used() -> None:
    import_names = {"pyyaml": "yaml", "prometheus-client": "prometheus_client"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^a-z0-9-]", line.lower())[0] for line in project["dependencies"]}
    used = {library for module in MODULES.values() for library in module.outside}
    assert {import_names.get(name, name) for name in required} == used - {"sqlite3"}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_provider_is_a_file_a_simulator_and_a_golden_folder(name: str) -> None:
    assert type(ADAPTERS[name]).__module__ == f"providers.{name.replace('-', '_')}"
    assert name in HOUSES
    assert f"gateway.simulator.providers.{name.replace('-', '_')}" in MODULES
    assert (ROOT / "tests" / "providers" / "golden" / name / "request.json").is_file()


def test_a_simulator_stands_for_a_provider() -> None:
    assert set(HOUSES) <= set(ADAPTERS)


def test_packages_hold_a_docstring_and_nothing_else() -> None:
    """A package's init runs before its modules: one that imports them turns the package into a circle."""
    for module in MODULES.values():
        if module.path.name == "__init__.py":
            body = module.tree.body
            assert ast.get_docstring(module.tree), module.name
            rest = [ast.unparse(node).split(" = ")[0] for node in body[1:]]
            assert rest == (["__version__"] if module.name == "gateway" else []), module.name


def test_every_module_says_what_it_does() -> None:
    assert [m.name for m in MODULES.values() if not ast.get_docstring(m.tree)] == []


def test_no_file_eats_the_project() -> None:
    sizes = {m.name: len(m.path.read_text().splitlines()) for m in MODULES.values()}
    assert {name: size for name, size in sizes.items() if size > LINES_MAX} == {}


def test_only_the_settings_know_the_names_of_variables() -> None:
    knowing = {m.name for m in MODULES.values() if any(SETTING_NAME.fullmatch(text) for text in _strings(m.tree))}
    assert knowing == {"gateway.config.settings"}


def test_only_the_journal_writes_at_a_place_and_syncs() -> None:
    """What must survive a crash is written in one room. SQLite does its own; the log writes lines to a stream."""
    writing = {
        module.name
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "os" and node.func.attr in WRITES
    }
    assert {room_of(name) for name in writing} == {"journal"}


def _strings(tree: ast.Module) -> Iterator[str]:
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
