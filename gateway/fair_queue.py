"""Who waits, and whose turn it is: round robin over teams, first come first served within a team.

A team that comes anew, or comes back, is next, but gains nothing by having stayed away. Where the queue is full, the
team with the longest line gives up its newest place to one with a clearly shorter line, so that a flood cannot keep
others out. That holds for as many teams at once as there are pairs of places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Line(Generic[T]):
    __slots__ = ("items", "turn")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.turn = 0
        """Number of this team's last turn; 0 where it had none."""


class FairQueue(Generic[T]):
    """Holds at most `length_max` items. Pure, and asks no clock."""

    def __init__(self, length_max: int) -> None:
        self.length_max = length_max
        self._lines: dict[str, _Line[T]] = {}
        self._length = 0
        self._turn = 0

    def __len__(self) -> int:
        return self._length

    def admits(self, team: str) -> bool:
        """Whether one more of this team may wait."""
        if self._length < self.length_max:
            return True
        line = self._lines.get(team)
        own = 0 if line is None else len(line.items)
        return any(len(other.items) > own + 1 for other in self._lines.values())

    def add(self, team: str, item: T) -> T | None:
        """Appends to the team's line, which `admits` allows. Returns the item that had to go for it, if any."""
        gone = None
        if self._length >= self.length_max:
            gone = max(self._lines.values(), key=lambda line: len(line.items)).items.pop()
            self._length -= 1
        line = self._lines.get(team)
        if line is None:
            line = self._lines[team] = _Line()
        line.items.append(item)
        self._length += 1
        return gone

    def take(self, fits: Callable[[T], bool]) -> T | None:
        """The next item that fits, removed; None where none does."""
        for team, line in sorted(self._lines.items(), key=lambda entry: entry[1].turn):
            for item in line.items:
                if fits(item):
                    self._turn += 1
                    line.turn = self._turn
                    line.items.remove(item)
                    self._length -= 1
                    return item
            if not line.items:
                # It did not come back for its turn; if it comes later it is next, as anybody new.
                del self._lines[team]
        return None

    def discard(self, team: str, item: T) -> None:
        """Removes an item that waits no more; one that is not there is none."""
        line = self._lines.get(team)
        if line is not None and item in line.items:
            line.items.remove(item)
            self._length -= 1
