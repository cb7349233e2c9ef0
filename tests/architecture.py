"""The project's own imports as a picture: modules, rooms, floors and circles, read from the source and never by
importing it. `python -m tests.architecture` prints the picture; `tests/test_architecture.py` holds it to the rules.

Every import counts, wherever it stands: at the top, inside a function, or for type checkers only. A module that is
named in a type is known all the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("providers", "gateway")

GROUND: Final = frozenset(
    f"gateway.{name}"
    for name in (
        "csv_text", "errors", "ids", "keys", "log", "metrics", "moments", "money", "periods", "records", "suggest",
        "tenants",
    )
)  # fmt: skip
"""Values and helpers that every room may know."""


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: what it imports of the project, of the standard library, and from outside. The latter two by
    their top-level names; sqlite3 counts as outside, since it is a store."""

    name: str
    path: Path
    project: frozenset[str]
    standard: frozenset[str]
    outside: frozenset[str]
    tree: ast.Module


def read_modules(root: Path = ROOT) -> dict[str, Module]:
    """Every module of the project by its dotted name; a package goes by its own name."""
    paths = {_dotted(path.relative_to(root)): path for package in PACKAGES for path in (root / package).rglob("*.py")}
    modules = {}
    for name, path in sorted(paths.items()):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        imported = set(imports_of(tree, paths))
        project = {target for target in imported if target.split(".")[0] in PACKAGES}
        others = {target.split(".")[0] for target in imported - project}
        standard = others & (sys.stdlib_module_names - {"sqlite3"})
        modules[name] = Module(
            name, path, frozenset(project - {name}), frozenset(standard), frozenset(others - standard), tree
        )
    return modules


def imports_of(tree: ast.Module, modules: Mapping[str, object]) -> Iterator[str]:
    """Dotted names that a module imports: `from a import b` is `a.b` where that is a module, else `a`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"line {node.lineno}: a relative import; say the whole name")
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """The room of a module: a folder of the gateway, or `providers`, `ground`, `story`, `app`, `cli`.

    The story is what stands at the gateway's root and is neither ground floor nor wiring.
    """
    top, _, rest = name.partition(".")
    if top == "providers":
        return "providers"
    if not rest or name in GROUND:
        return "ground"
    if (ROOT / "gateway" / rest.split(".")[0]).is_dir():
        return rest.split(".")[0]
    return {"gateway.app": "app", "gateway.__main__": "cli"}.get(name, "story")


def circles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Groups of modules that reach each other by imports. Takes away, over and over, what imports nothing that is
    left, then what nothing imports that is left; whatever stays stands in a circle or between two of them."""
    left = {name: set(module.project) & modules.keys() for name, module in modules.items()}
    while True:
        wanted = {target for targets in left.values() for target in targets}
        loose = {name for name, targets in left.items() if not targets or name not in wanted}
        if not loose:
            break
        left = {name: targets - loose for name, targets in left.items() if name not in loose}
    return [[name, *sorted(targets)] for name, targets in sorted(left.items())]


def floors(modules: Mapping[str, Module]) -> dict[str, int]:
    """0 for what imports nothing of the project, else one above the highest that it imports. Needs no circles."""
    known: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in known:
            known[name] = max((floor(target) + 1 for target in modules[name].project if target in modules), default=0)
        return known[name]

    for name in modules:
        floor(name)
    return known


def picture(modules: Mapping[str, Module]) -> str:
    """Rooms from the ground up, each with its modules by floor, what the room knows, and the libraries in it."""
    level = floors(modules)
    rooms: dict[str, list[str]] = {}
    for name in modules:
        rooms.setdefault(room_of(name), []).append(name)
    lines = []
    for room, names in sorted(rooms.items(), key=lambda item: (max(level[name] for name in item[1]), item[0])):
        knows = sorted({room_of(target) for name in names for target in modules[name].project} - {room})
        outside = sorted({library for name in names for library in modules[name].outside})
        lines.append(f"{room}: knows {', '.join(knows) or 'nothing'}; from outside {', '.join(outside) or 'nothing'}")
        lines.extend(f"  {level[name]:>2}  {name}" for name in sorted(names, key=lambda name: (level[name], name)))
    return "\n".join(lines)


def main() -> int:
    modules = read_modules()
    found = circles(modules)
    if found:
        sys.stderr.write("".join(f"in a circle: {name} -> {', '.join(rest)}\n" for name, *rest in found))
        return 1
    sys.stdout.write(picture(modules) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
