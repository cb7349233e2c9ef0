"""The simulators as a process of their own, and their independence of what they are to judge."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import gateway.simulator
from gateway.simulator.registry import BASE_PATHS, HOUSES

FILES = sorted(Path(gateway.simulator.__file__).parent.rglob("*.py"))


def test_child_process_tells_its_port_and_stops_when_asked() -> None:
    command = [sys.executable, "-m", "gateway.simulator.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert httpx.get(f"http://127.0.0.1:{port}/__sim__/stats").json() == {}
        child.send_signal(signal.SIGTERM)
        rest, noise = child.communicate(timeout=10)
    assert (child.returncode, rest, noise) == (0, "", "")


def test_every_provider_has_a_base_path() -> None:
    assert set(BASE_PATHS) == set(HOUSES)
    assert all(path.startswith(f"/{name}") for name, path in BASE_PATHS.items())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_is_shared_with_the_adapters(file: Path) -> None:
    """An adapter and its judge that shared a mistake would agree on it."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name.split(".")[0] != "providers"
            assert not name.startswith("gateway") or name.startswith("gateway.simulator")
            assert not name.startswith("starlette") or file.name == "app.py"
            assert not name.startswith("uvicorn") or file.name == "server.py"
