"""A gateway as its users meet it: a process of its own, on a free port, with its own folder.

Teams and keys are made, and the ledger is read, on the very store that the process uses. Nothing here knows what a
provider is; `fault_provider` and the simulators are what the mapping table points to.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from gateway.administration import Actor, Administration
from gateway.records import ClosedEntry
from gateway.store.base import Store
from gateway.store.open import open_store

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 20.0
ADMIN_KEY: Final = "an-admin-key-of-the-journeys"
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_ACTOR: Final = Actor("cli", "journeys")


def until(true: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """What `true` gives as soon as it gives something."""
    end_s = time.monotonic() + patience_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end_s:
            raise AssertionError(f"waited {patience_s:g} s in vain for {what}")
        time.sleep(0.01)


class GatewayProcess:
    """One life of `gateway serve`. Made by `running`, which also ends it."""

    def __init__(self, folder: Path, table: str, *, workers: int, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.table_path = folder / "mappings.yaml"
        self.state_dir = folder / "state"
        self.log_path = folder / "log"
        self.table_path.write_text(table)
        self._workers = workers
        self._environ = environ
        self._keys: dict[str, str] = {}
        self.url = ""
        # Nothing here speaks TLS, and the certificates take longer to load than most journeys.
        self.http = httpx.Client(verify=False, timeout=PATIENCE_S)

    def start(self) -> None:
        """Begins, and waits for /readyz."""
        passed = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "REDIS_"))}
        own = {"PYTHONPATH": str(ROOT), "GATEWAY_STATE_DIR": str(self.state_dir), "GATEWAY_ADMIN_KEY": ADMIN_KEY}
        passed.update({**own, **self._environ})
        command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--workers", str(self._workers)]
        with self.log_path.open("ab") as log:
            begun_at = log.tell()
            self.process = subprocess.Popen(
                [*command, "--mappings", str(self.table_path)],
                cwd=self.folder,
                env=passed,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def port() -> str | None:
            assert self.process.poll() is None, self.log()
            found = _LISTENING.search(self.log()[begun_at:])
            return found and found[1]

        self.url = f"http://127.0.0.1:{until(port, 'the port in the log')}"
        until(lambda: self._get("/readyz") == 200, "/readyz")

    def _get(self, path: str) -> int | None:
        assert self.process.poll() is None, self.log()
        try:
            return self.http.get(self.url + path).status_code
        except httpx.TransportError:
            return None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """kill -9, of the supervisor and every worker."""
        for pid in [*self.worker_pids(), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def worker_pids(self) -> list[int]:
        """The worker processes; empty where the process serves by itself."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """The log without what is not JSON."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def reload(self) -> None:
        """SIGHUP; returns when no provider is out for its refusal of a key any more."""
        self.process.send_signal(signal.SIGHUP)
        until(lambda: "refused_keys" not in self.readyz(), "the reload")

    def readyz(self) -> dict[str, Any]:
        body: dict[str, Any] = self.http.get(f"{self.url}/readyz").json()
        return body

    def with_store(self, act: Callable[[Store], Awaitable[T]]) -> T:
        """One act on the store that the process uses."""

        async def opened() -> T:
            store = await open_store(
                state_dir=self.state_dir,
                redis_url=self._environ.get("REDIS_URL"),
                redis_mode=self._environ.get("GATEWAY_REDIS_MODE", "single"),
            )
            try:
                return await act(store)
            finally:
                await store.aclose()

        return asyncio.run(opened())

    def key(self, team: str = "search", **fields: object) -> str:
        """The key of a team; both are made where they are not there yet. `fields` are the team's."""
        if team not in self._keys:

            async def make(store: Store) -> str:
                administration = Administration(store)
                await administration.create_team({"team": team, **fields}, _ACTOR)
                return (await administration.create_key(team, {}, _ACTOR)).text

            self._keys[team] = self.with_store(make)
        return self._keys[team]

    def story(self, inference_id: str) -> list[ClosedEntry]:
        """Every attempt of one request, once its last one is in the store's ledger."""

        async def ask(store: Store) -> list[ClosedEntry]:
            while True:
                entries = await store.story(inference_id)
                if any(entry.last for entry in entries):
                    return sorted(entries, key=lambda entry: entry.number)
                await asyncio.sleep(0.01)

        async def bounded(store: Store) -> list[ClosedEntry]:
            async with asyncio.timeout(PATIENCE_S):
                return await ask(store)

        return self.with_store(bounded)

    def told(self, inference_id: str, team: str = "search") -> dict[str, Any]:
        """GET /v1/requests/{id}: the same as its team is told it."""
        body: dict[str, Any] = self.http.get(
            f"{self.url}/v1/requests/{inference_id}", headers=self.headers(team)
        ).json()
        return body

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, such as `gateway_in_flight_requests`; 0 where there is none."""
        text = self.http.get(f"{self.url}/metrics").text
        found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def export(self) -> list[dict[str, Any]]:
        """`gateway usage export`, as an accountant would call it."""
        return [json.loads(line) for line in self.command("usage", "export", "--format", "jsonl").splitlines()]

    def command(self, *arguments: str) -> str:
        """The standard output of one command of the gateway on the same store and table."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "GATEWAY_STATE_DIR": str(self.state_dir),
            "GATEWAY_MAPPINGS": str(self.table_path),
            **self._environ,
        }
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        ).stdout

    def headers(self, team: str = "search") -> dict[str, str]:
        return {"authorization": f"Bearer {self.key(team)}"}


@contextmanager
def running(
    folder: Path, table: str, *, workers: int = 1, environ: Mapping[str, str] | None = None
) -> Iterator[GatewayProcess]:
    """A gateway with this mapping table, killed at the end if it still lives."""
    gateway = GatewayProcess(folder, table, workers=workers, environ=environ or {})
    try:
        gateway.start()
        yield gateway
    finally:
        if hasattr(gateway, "process") and gateway.process.poll() is None:
            gateway.stop()
        gateway.http.close()


def table_of(
    providers: Mapping[str, str],
    *,
    routing: Mapping[str, object] | None = None,
    timeouts: Mapping[str, float] | None = None,
    models: Mapping[str, Mapping[str, Mapping[str, object]]] | None = None,
    extra: Sequence[str] = (),
) -> str:
    """A mapping table in JSON, which is YAML. `providers`: base URLs by name, spoken to in OpenAI's own form.
    `models`: rows by hub model and provider, a field of None left out; by default all providers serve `acme/chat` as
    `chat`."""
    row = {"providerModelId": "chat", "task": "conversational", "status": "live", "pricing": PRICE}
    rows = models or {"acme/chat": {name: {} for name in providers}}
    document = {
        "version": 1,
        "providers": {
            name: {
                "adapter": "openai",
                "baseUrl": url,
                "apiKey": provider_key(name),
                "timeouts": {**TIMEOUTS, **(timeouts or {})},
            }
            for name, url in providers.items()
        },
        "models": {
            model: {
                "providersMapping": {
                    name: {field: value for field, value in {**row, **fields}.items() if value is not None}
                    for name, fields in offers.items()
                }
            }
            for model, offers in rows.items()
        },
        "aliases": {"default": next(iter(rows))},
        "routing": {**ROUTING, **(routing or {})},
    }
    return json.dumps(document, indent=1)


def provider_key(name: str) -> str:
    return f"sk-the-secret-of-{name}"


PRICE: Final = {"input": "1", "output": "2"}
"""USD per million tokens: a token of the prompt costs 1 000 nano-dollars, one of the answer 2 000."""
TIMEOUTS: Final = {"connect": 1, "firstToken": 1, "betweenTokens": 1, "total": 10}
ROUTING: Final = {
    "deadline": 10,
    # Most journeys break the first provider; its breaker and the retry budget have tests of their own.
    "breaker": {"failures": 1000, "percent": 100, "window": 30, "open": 15},
    "retryBudgetPercent": 100,
}
