"""Three hundred requests of four teams over three faulty providers: every token that was served is on one line, once.

The judge is the fault kit's `reconcile`, with nothing allowed: no estimate that is off, nothing unknown.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.faults import reconcile
from tests.journeys.caller import ask, listen
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of

REQUESTS: Final = 300
CALLERS: Final = 8
TEAMS: Final = ("search", "support", "research", "sales")
MILD: Final = (
    *["ok"] * 30,
    "500",
    "503",
    "429",
    "429-retry-after-1",
    "409",
    "html-502",
    "error-200",
    "reset",
    "empty-body",
    "slow-ttft-50ms",
    "usage-with-finish",
    "usage-in-every-chunk",
    "usage-twice",
    "usage-conflict",
    "no-usage",
    "usage-string",
    "cut-after-0-chunks",
    "cut-after-3-chunks",
    "error-in-stream-after-2",
    "no-done",
    "sse-crlf",
    "sse-split-utf8",
)
ROUTING: Final = {"policy": "balanced", "breaker": {"failures": 1000, "percent": 100, "window": 30, "open": 15}}
WORDS: Final = "the sea is wide and the night is long but the boat is near".split()  # noqa: SIM905


def test_every_token_is_on_one_line(tmp_path: Path) -> None:
    dice = random.Random(7)
    with ExitStack() as stack:
        names = ("first", "second", "third")
        truths = [tmp_path / f"truth-{name}.jsonl" for name in names]
        providers = [stack.enter_context(FaultProvider(truth=truth)) for truth in truths]
        table = table_of({name: p.base_url for name, p in zip(names, providers, strict=True)}, routing=ROUTING)
        gateway = stack.enter_context(running(tmp_path, table))
        for team in TEAMS:
            gateway.key(team)
        for provider in providers:
            provider.next(*dice.choices(MILD, k=REQUESTS))

        statuses = Counter(send_all(gateway, dice))
        assert gateway.stop() == 0
        lines = gateway.export()

    assert set(statuses) <= {200, 502}
    assert statuses[200] > REQUESTS * 0.9
    usage = tmp_path / "usage.jsonl"
    usage.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["--usage", str(usage), *(part for truth in truths for part in ("--truth", str(truth)))]
    assert reconcile.main(arguments) == 0
    # One line for each time that a provider was asked, whatever came of it.
    assert len(lines) == sum(
        1 for truth in truths for line in truth.read_text().splitlines() if '"ev": "begin"' in line
    )
    assert {line["attempt_id"].partition(".")[0] for line in lines} == {line["inference_id"] for line in lines}
    report_agrees(gateway, lines)


def send_all(gateway: GatewayProcess, dice: random.Random) -> Iterator[int]:
    """The status of each, plain and streamed in turn."""
    teams = dice.choices(TEAMS, k=REQUESTS)

    def send(i: int) -> int:
        words = " ".join(WORDS[: 3 + i % len(WORDS)])
        fields: dict[str, Any] = {
            "messages": [{"role": "user", "content": f"{words} [[tag:t{i}]]"}],
            "max_tokens": 4 + i % 20,
        }
        if i % 2:
            return ask(gateway, team=teams[i], **fields).status_code
        return listen(gateway, team=teams[i], **fields).status

    with ThreadPoolExecutor(CALLERS) as pool:
        yield from pool.map(send, range(REQUESTS))


def report_agrees(gateway: GatewayProcess, lines: list[dict[str, object]]) -> None:
    """`gateway usage` sums up to what the lines say, team by team and to the nano-dollar."""
    report = json.loads(gateway.command("usage", "--group-by", "team", "--json"))
    for row in report["data"]:
        mine = [line for line in lines if line["team"] == row["team"]]
        costs = sum((Decimal(str(line["cost_usd"])) for line in mine if line["cost_usd"] is not None), Decimal(0))
        assert Decimal(row["cost_usd"]) == costs
        assert row["requests"] == len({line["inference_id"] for line in mine})
    assert {row["team"] for row in report["data"]} == set(TEAMS)
