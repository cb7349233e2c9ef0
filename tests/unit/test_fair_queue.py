"""Round robin over teams, first come first served within one, and no flood keeps others out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.fair_queue import FairQueue

Item = tuple[str, int]


def everybody(item: Item) -> bool:
    return True


def filled(*items: Item, length_max: int = 100) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue(length_max)
    for item in items:
        assert queue.add(item[0], item) is None
    return queue


def emptied(queue: FairQueue[Item], fits: Callable[[Item], bool] = everybody) -> list[Item]:
    taken = []
    while (item := queue.take(fits)) is not None:
        taken.append(item)
    return taken


def test_teams_take_turns_and_each_keeps_its_order() -> None:
    queue = filled(("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2))
    assert emptied(queue) == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("a", 3)]
    assert len(queue) == 0


def test_who_comes_anew_is_next_and_gains_nothing_by_having_stayed_away() -> None:
    queue = filled(*(("a", number) for number in range(5)))
    assert [queue.take(everybody) for _ in range(3)] == [("a", 0), ("a", 1), ("a", 2)]
    for number in range(2):
        queue.add("b", ("b", number))
    assert emptied(queue) == [("b", 0), ("a", 3), ("b", 1), ("a", 4)]


def test_who_comes_back_in_time_keeps_its_turn() -> None:
    """A caller with one request at a time gets its half beside one with many."""
    queue = filled(*(("a", number) for number in range(5)), ("b", 0))
    assert [queue.take(everybody) for _ in range(3)] == [("a", 0), ("b", 0), ("a", 1)]
    queue.add("b", ("b", 1))
    assert queue.take(everybody) == ("b", 1)


def test_what_does_not_fit_is_passed_over_and_stays() -> None:
    queue = filled(("a", 1), ("a", 2), ("b", 1))
    assert emptied(queue, lambda item: item[1] == 2) == [("a", 2)]
    assert emptied(queue, lambda item: item[1] == 3) == []
    assert len(queue) == 2


def test_a_full_queue_takes_a_place_from_the_longest_line_alone() -> None:
    queue = filled(("a", 1), ("a", 2), ("a", 3), ("b", 1), length_max=4)
    assert not queue.admits("a")
    assert queue.admits("b")
    assert queue.add("b", ("b", 2)) == ("a", 3)
    # Two of each by now: to change places would only send one away for the other.
    assert not queue.admits("a")
    assert not queue.admits("b")
    assert not FairQueue[Item](0).admits("a")


TEAMS = st.sampled_from("abcd")


@given(st.lists(TEAMS, max_size=60), st.integers(1, 20))
def test_nobody_is_lost_and_lines_are_level_when_full(comers: Sequence[str], length_max: int) -> None:
    queue: FairQueue[Item] = FairQueue(length_max)
    waiting: list[Item] = []
    for number, team in enumerate(comers):
        if not queue.admits(team):
            lines = Counter(item[0] for item in waiting)
            assert len(queue) == length_max
            assert max(lines.values()) <= lines[team] + 1
            continue
        gone = queue.add(team, (team, number))
        waiting.append((team, number))
        if gone is not None:
            waiting.remove(gone)
        assert len(queue) == len(waiting) <= length_max
    taken = emptied(queue)
    assert sorted(taken) == sorted(waiting)
    for team in "abcd":
        numbers = [number for name, number in taken if name == team]
        assert numbers == sorted(numbers)


@given(st.lists(st.tuples(TEAMS, st.booleans()), max_size=80))
def test_a_team_that_waits_sees_no_other_twice_before_its_turn(steps: Sequence[tuple[str, bool]]) -> None:
    queue: FairQueue[Item] = FairQueue(100)
    since: dict[str, Counter[str]] = {}
    waiting: Counter[str] = Counter()
    for number, (team, takes) in enumerate(steps):
        if takes:
            item = queue.take(everybody)
            if item is None:
                continue
            for name, seen in since.items():
                if name != item[0]:
                    seen[item[0]] += 1
                    assert seen[item[0]] <= 1, name
            since.pop(item[0])
            waiting[item[0]] -= 1
            if waiting[item[0]]:
                since[item[0]] = Counter()
        else:
            since.setdefault(team, Counter())
            waiting[team] += 1
            queue.add(team, (team, number))


def test_who_gives_up_is_not_there_any_more() -> None:
    queue = filled(("a", 1), ("a", 2))
    queue.discard("a", ("a", 1))
    queue.discard("a", ("a", 1))
    queue.discard("b", ("b", 1))
    assert emptied(queue) == [("a", 2)]
