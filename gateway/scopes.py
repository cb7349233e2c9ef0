"""What a request is measured against: the billed team's and the key's budgets and limits, as the ledger asks for them.
Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.periods import budget_window
from gateway.records import BudgetTaken, Scope
from gateway.tenants import Budget, Limits, Principal


def scopes_of(principal: Principal, day: str, timezone: str) -> tuple[Scope, ...]:
    """The billed team and the key, as far as they have a budget or limits."""
    found = []
    for scope_id, budget, limits in (
        ("team", principal.billed.budget, principal.billed.limits),
        (f"key:{principal.key.id}", principal.key.budget, principal.key.limits),
    ):
        if budget is not None or limits:
            found.append(_scope(scope_id, budget, limits, day, timezone))
    return tuple(found)


def budgets_taken(scopes: Sequence[Scope]) -> tuple[BudgetTaken, ...]:
    """What an admitted request will count against."""
    return tuple(
        BudgetTaken(scope.id, scope.budget_window, scope.budget_nano_usd, scope.strict, scope.warn_at)
        for scope in scopes
        if scope.budget_nano_usd is not None
    )


def _scope(scope_id: str, budget: Budget | None, limits: Limits, day: str, timezone: str) -> Scope:
    window, resets_at_ms = ("", None) if budget is None else budget_window(budget.period, day, timezone)
    return Scope(
        id=scope_id,
        budget_nano_usd=None if budget is None else budget.nano_usd,
        budget_window=window,
        budget_resets_at_ms=resets_at_ms,
        strict=budget is None or budget.enforce == "strict",
        warn_at=() if budget is None else budget.warn_at,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrency=limits.concurrency,
    )
