"""Five hundred callers at once, through three gateways, where there is room for seven; and one caller with one slot.

`make races` runs each of them two hundred times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.races.house import House
from tests.races.race import LIMITS, one_by_one, race_for_a_budget, race_for_a_limit

RUNS = 3


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with House() as open_house:
        yield open_house


@pytest.mark.parametrize("on_key", [False, True], ids=["team", "key"])
def test_seven_worst_cases_fit_and_no_eighth(house: House, on_key: bool) -> None:
    for _ in range(RUNS):
        assert house.run(race_for_a_budget(house, on_key)).faults == []


@pytest.mark.parametrize("on_key", [False, True], ids=["team", "key"])
@pytest.mark.parametrize("name", LIMITS)
def test_seven_are_under_a_limit_and_no_eighth(house: House, name: str, on_key: bool) -> None:
    for _ in range(RUNS):
        assert house.run(race_for_a_limit(house, name, on_key)).faults == []


def test_a_caller_with_one_slot_never_meets_its_own_ghost(house: House) -> None:
    assert house.run(one_by_one(house, 1_000)) == Counter({200: 1_000})
