"""The short form of `make chaos`: one act of harm of each kind, and a few more; and of its outages."""

from __future__ import annotations

import pytest

from tests.chaos.outage import run_outages
from tests.chaos.round import run_round
from tests.chaos.verdict import as_table


@pytest.mark.timeout(240)
def test_nothing_is_lost_whatever_is_killed() -> None:
    verdict = run_round("single", seconds=40, every_s=2.0, seed=11, callers=8, rest_s=0.1)
    assert verdict.faults == [], as_table(verdict)
    assert verdict.counts["answers"] > 100


def test_nobody_without_limits_notices_that_the_store_is_away() -> None:
    verdict = run_outages(1.2, slack_us=4_000)
    assert verdict.faults == [], as_table(verdict)
    assert verdict.counts["requests"] > 100
