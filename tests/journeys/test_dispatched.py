"""What was sent to a provider is in our books, answered or not; and where the books cannot tell, they say so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.journeys.caller import ask
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import running, table_of

TOLD = ("ok", "500", "429", "error-200")
SILENT = ("reset", "hang-after-headers", "hang")
"""No answer to bill by: nothing at all, then a 200 that nothing follows, then nothing until the time-out."""


def test_every_attempt_has_a_line_and_every_provider_its_gap(tmp_path: Path) -> None:
    with FaultProvider() as first, FaultProvider() as second:
        table = table_of(
            {"first": first.base_url, "second": second.base_url}, timeouts={"firstToken": 0.4, "total": 0.5}
        )
        with running(tmp_path, table) as gateway:
            first.next(*TOLD, *SILENT)
            answers = [ask(gateway) for _ in (*TOLD, *SILENT)]
            assert {answer.status_code for answer in answers} == {200}
            assert gateway.stop() == 0
            lines = gateway.export()
            losses = json.loads(gateway.command("usage", "--losses", "--json"))

        assert Counter(line["provider"] for line in lines) == {"first": first.requests, "second": second.requests}
    by_fault = dict(zip((*TOLD, *SILENT), (line for line in lines if line["provider"] == "first"), strict=True))
    assert {fault for fault, line in by_fault.items() if line["unknown"]} == {"reset", "hang"}
    assert {fault for fault, line in by_fault.items() if line["estimated"]} == {"hang-after-headers"}
    assert {fault for fault, line in by_fault.items() if line["cost_usd"] != "0"} == {"ok"}
    assert {fault for fault, line in by_fault.items() if line["provider_cost_usd"] != "0"} == {
        "ok",
        "hang-after-headers",
    }
    rows = {row["provider"]: row for row in losses["data"]}
    assert (rows["first"]["unknown_attempts"], rows["second"]["unknown_attempts"]) == (2, 0)
    assert rows["first"]["failed_usd"] == by_fault["hang-after-headers"]["provider_cost_usd"]
    assert rows["second"]["lost_usd"] == "0"
