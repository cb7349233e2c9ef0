"""What Novita refuses: provider wire formats, 3.8."""

from __future__ import annotations

from typing import Final

from gateway.simulator.rows.common import basics, row_of
from gateway.simulator.rules import EMPTY_LIST, Rule, outside

_novita = row_of("novita", 400, code="INVALID_REQUEST_BODY")
NOVITA: Final[tuple[Rule, ...]] = (
    *basics(_novita),
    _novita("messages", EMPTY_LIST, {"messages": []}, "3.8 messages", "U"),
    _novita("temperature", outside(0, 2), {"temperature": 2.5}, "1.2 temperature range", "U"),
    _novita("frequency_penalty", outside(-2, 2), {"frequency_penalty": 3}, "3.8 penalties", "G"),
    _novita("presence_penalty", outside(-2, 2), {"presence_penalty": 3}, "3.8 penalties", "G"),
)
