"""When a budget's thresholds are reached, and how far a charge went past it. Pure; `redis/settle.lua` does it
in the same way."""

from __future__ import annotations

from gateway.records import BudgetTaken, crossing_mark


def thresholds_of(budget: BudgetTaken) -> list[tuple[int, int, str]]:
    """(percent, nano-USD from which on it is reached, mark) of each, the lowest first."""
    return [
        (
            percent,
            -(-budget.nano_usd * percent // 100),
            crossing_mark(budget.scope, budget.window, budget.nano_usd, percent),
        )
        for percent in sorted(budget.warn_at)
    ]


def overrun_nano_usd(budget: BudgetTaken, spent_before: int, spent: int) -> int:
    """What a charge went past a strict budget; nothing past a soft one."""
    if not budget.strict:
        return 0
    return max(0, spent - budget.nano_usd) - max(0, spent_before - budget.nano_usd)
