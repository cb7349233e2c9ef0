"""The simulated providers as a process of their own: what a mapping table points to, and what can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from gateway.config.demo_table import demo_table
from gateway.simulator.registry import BASE_PATHS
from tests.journeys.gateway_process import PATIENCE_S, ROOT

KEY: Final = "sim-key"
Stats = dict[str, dict[str, dict[str, int]]]


class SimulatorProcess:
    """All simulated providers on one port. Made by `simulators`, which also ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway.simulator.server"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        assert port, "the simulated providers did not start"
        self.url = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self.url, verify=False, timeout=PATIENCE_S)

    @property
    def base_urls(self) -> Mapping[str, str]:
        """By provider."""
        return {name: self.url + path for name, path in BASE_PATHS.items()}

    def shipped_table(self) -> str:
        """The table that the gateway ships, with these providers behind it."""
        return demo_table((ROOT / "mappings.yaml").read_text(), self.base_urls, KEY)

    def behave(self, provider: str, behaviour: str, *, model: str = "*", times: int | None = None) -> None:
        """What a provider does with its next requests; `times` None: with all of them."""
        script = {"provider": provider, "model": model, "behaviour": behaviour, "times": times}
        self._http.post("/__sim__/control", json=script).raise_for_status()

    def stats(self) -> Stats:
        """What each provider's model was asked and what it reported."""
        counts: Stats = self._http.get("/__sim__/stats").json()
        return counts

    def requests(self) -> list[dict[str, Any]]:
        """The last requests: provider, path, headers without secrets, body."""
        kept: list[dict[str, Any]] = self._http.get("/__sim__/requests").json()
        return kept

    def reset(self) -> None:
        """Forgets behaviours, counts and requests."""
        self._http.post("/__sim__/reset").raise_for_status()

    def kill(self) -> None:
        """kill -9. May be called twice."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self.kill()
        self._http.close()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def simulators() -> Iterator[SimulatorProcess]:
    process = SimulatorProcess()
    try:
        yield process
    finally:
        process.close()
