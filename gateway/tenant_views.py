"""Teams, keys and the audit as the JSON objects that administrators see. No secret and no digest is ever in one."""

from __future__ import annotations

from typing import Any

from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.store.base import AuditEntry
from gateway.tenants import Budget, Key, Limits, Organisation, Team

JsonObject = dict[str, Any]


def team_view(team: Team) -> JsonObject:
    """A team; a webhook is shown without its secret."""
    return {
        "id": team.id,
        "team": team.name,
        "created_at": format_moment(team.created_at_ms),
        "deleted_at": _moment(team.deleted_at_ms),
        "budget": _budget(team.budget),
        "limits": _limits(team.limits),
        "models": list(team.models),
        "providers": list(team.providers),
        "timezone": team.timezone,
        "when_store_down": team.when_store_down,
        "unpriced": team.unpriced,
        "accepts_from": list(team.accepts_from),
        "ceilings": team.ceilings,
        "webhook": {"url": team.webhook.url} if team.webhook else None,
    }


def key_view(key: Key, team_name: str, now_ms: int) -> JsonObject:
    """A key of the team with this name, without the key itself."""
    overlaps = key.old_digest is not None and key.old_digest_until_ms is not None and now_ms < key.old_digest_until_ms
    return {
        "id": key.id,
        "prefix": key.prefix,
        "team": team_name,
        "created_at": format_moment(key.created_at_ms),
        "expires_at": _moment(key.expires_at_ms),
        "last_used_at": _moment(key.last_used_at_ms),
        "revoked": key.revoked_at_ms is not None,
        "revoked_at": _moment(key.revoked_at_ms),
        "old_secret_until": _moment(key.old_digest_until_ms) if overlaps else None,
        "budget": _budget(key.budget),
        "limits": _limits(key.limits),
        "models": list(key.models),
        "providers": list(key.providers),
        "may_bill": list(key.may_bill),
        "scopes": list(key.scopes),
    }


def organisation_view(organisation: Organisation) -> JsonObject:
    """A webhook is shown without its secret."""
    return {
        "budget": _budget(organisation.budget),
        "webhook": {"url": organisation.webhook.url} if organisation.webhook else None,
    }


def audit_view(entry: AuditEntry) -> JsonObject:
    return {
        "at": format_moment(entry.at_ms),
        "actor": entry.actor,
        "origin": entry.origin,
        "act": entry.act,
        "subject": entry.subject,
        "before": None if entry.before is None else dict(entry.before),
        "after": None if entry.after is None else dict(entry.after),
    }


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_moment(at_ms)


def _budget(budget: Budget | None) -> JsonObject | None:
    if budget is None:
        return None
    return {
        "usd": format_usd(budget.nano_usd),
        "period": budget.period,
        "enforce": budget.enforce,
        "warn_at": list(budget.warn_at),
    }


def _limits(limits: Limits) -> JsonObject:
    return {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrency": limits.concurrency,
    }
