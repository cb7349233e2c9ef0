"""Another mapping table while requests are under way: every worker takes it, or none does and says why."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.caller import ask, listening
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until

WITHIN_S = 1.0
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A gateway of two workers, its provider `only`, and one more that its table does not name."""

    gateway: GatewayProcess
    only: FaultProvider
    other: FaultProvider
    table: str

    def figure(self, name: str) -> int:
        """One line of /metrics: of all workers together."""
        lines = self.asked_alone("GET", "/metrics")[0].decode().splitlines()
        return next((int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(f"{name} ")), 0)

    def reloads(self, result: str) -> int:
        """How many workers took a table since they began, or refused one."""
        return self.figure(f'gateway_mapping_reloads_total{{result="{result}"}}')

    def readyz_of_each(self) -> list[dict[str, Any]]:
        """Of twenty connections, which any of the workers may take."""
        return [json.loads(self.asked_alone("GET", "/readyz")[0]) for _ in range(20)]

    def generation(self) -> str:
        """Of the table in force in every worker."""
        (found,) = {body["generation"] for body in self.readyz_of_each()}
        return str(found)

    def who_answers(self) -> set[str]:
        body = {"model": "acme/chat", "messages": [{"role": "user", "content": "hi"}]}
        answers = [self.asked_alone("POST", "/v1/chat/completions", body)[1] for _ in range(10)]
        return {headers["x-inference-provider"] for headers in answers}

    def asked_alone(self, method: str, path: str, body: object = None) -> tuple[bytes, Any]:
        """Body and headers of an answer on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", int(self.gateway.url.rpartition(":")[2]), timeout=20)
        try:
            headers = {"content-type": "application/json", **self.gateway.headers()}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.read(), answer.headers
        finally:
            connection.close()

    def all_have_begun(self) -> bool:
        """And not only the one that /readyz met."""
        pids = self.gateway.worker_pids()
        return len(pids) == WORKERS and all(map(_hears_sighup, pids))


def _hears_sighup(pid: int) -> bool:
    """The last thing that a worker sees to."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGHUP - 1) & 1)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with FaultProvider() as only, FaultProvider() as other:
        table = table_of({"only": only.base_url})
        with running(tmp_path_factory.mktemp("pair"), table, workers=WORKERS) as gateway:
            yield Pair(gateway, only, other, table)


@pytest.fixture
def pair(standing: Pair) -> Iterator[Pair]:
    """With the first table in force, whatever the test before left."""
    until(standing.all_have_begun, "both workers")
    yield standing
    # Twice, as the same table once more is no change: now every worker has taken both.
    for text in (standing.table + "\n", standing.table):
        before = standing.reloads("ok")
        standing.gateway.table_path.write_text(text)
        until(lambda before=before: standing.reloads("ok") >= before + WORKERS, "the first table")  # type: ignore[misc]


def test_a_changed_file_is_one_generation_everywhere_within_a_second(pair: Pair) -> None:
    gateway, before = pair.gateway, pair.reloads("ok")
    pids, generation = gateway.worker_pids(), pair.generation()

    gateway.table_path.write_text(table_of({"renamed": pair.other.base_url}))
    written_s = time.monotonic()
    until(lambda: pair.reloads("ok") == before + WORKERS, "the new table in both workers")

    assert time.monotonic() - written_s < WITHIN_S
    assert pair.generation() != generation
    assert pair.who_answers() == {"renamed"}
    assert gateway.worker_pids() == pids


def test_sighup_reads_a_file_that_did_not_change(pair: Pair) -> None:
    before = pair.reloads("ok")
    pair.gateway.process.send_signal(signal.SIGHUP)
    until(lambda: pair.reloads("ok") == before + WORKERS, "the table, read again by both workers")


def test_open_streams_go_on_with_the_old_table(pair: Pair) -> None:
    gateway, before = pair.gateway, pair.reloads("ok")
    pair.only.next("gap-30ms", "gap-30ms")
    with listening(gateway) as (response, chunks), listening(gateway) as (second, more):
        raw, also = next(chunks), next(more)
        gateway.table_path.write_text(table_of({"other": pair.other.base_url}))
        until(lambda: pair.reloads("ok") == before + WORKERS, "the new table in both workers")
        raw += b"".join(chunks)
        also += b"".join(more)

    assert raw.endswith(b"data: [DONE]\n\n")
    assert also.endswith(b"data: [DONE]\n\n")
    assert {answer.headers["x-inference-provider"] for answer in (response, second)} == {"only"}
    assert ask(gateway).headers["x-inference-provider"] == "other"


def test_a_bad_file_changes_nothing_and_says_why(pair: Pair) -> None:
    gateway = pair.gateway
    generation, failed = pair.generation(), pair.reloads("failed")

    gateway.table_path.write_text(pair.table.replace('"routing"', '"ruoting"'))
    until(lambda: pair.figure("gateway_mapping_refused") == WORKERS, "the refusal of both workers")

    for body in pair.readyz_of_each():
        assert (body["status"], body["generation"]) == ("ok", generation)
        assert "mappings.yaml:" in body["mapping_fault"]
        assert "ruoting" in body["mapping_fault"]
        assert "routing" in body["mapping_fault"]
    assert pair.reloads("failed") == failed + WORKERS
    assert pair.who_answers() == {"only"}
    refused = [line for line in gateway.log_lines() if line["event"] == "mapping_refused"]
    assert "ruoting" in refused[-1]["fault"]

    gateway.table_path.write_text(pair.table)
    until(lambda: pair.figure("gateway_mapping_refused") == 0, "the end of the refusal")
    assert not any("mapping_fault" in body for body in pair.readyz_of_each())


def test_who_takes_a_dead_workers_place_beside_a_bad_file_has_the_table_in_force(pair: Pair) -> None:
    gateway = pair.gateway
    generation, failed = pair.generation(), pair.reloads("failed")
    gateway.table_path.write_text("version: 2\n")
    until(lambda: pair.reloads("failed") == failed + WORKERS, "the refusal of both workers")

    victim, survivor = gateway.worker_pids()
    os.kill(victim, signal.SIGKILL)
    until(lambda: pair.reloads("failed") == failed + WORKERS + 1, "the refusal of the one in its place")
    until(pair.all_have_begun, "the one in its place")

    assert survivor in gateway.worker_pids()
    assert pair.generation() == generation
    assert pair.figure("gateway_mapping_refused") == WORKERS
    assert pair.who_answers() == {"only"}
