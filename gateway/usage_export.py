"""Every attempt as a line, for reconciliation against a provider's invoice. Pure.

What the store keeps and what still lies in a local journal are united by attempt id, each attempt once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from gateway.csv_text import csv_text
from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.records import ClosedEntry, attempt_id
from providers.wire import encode_json

FORMATS: Final = ("jsonl", "csv")
FIELDS: Final = (
    "inference_id",
    "request_id",
    "attempt_id",
    "upstream_id",
    "at",
    "team",
    "key",
    "model",
    "provider",
    "provider_model",
    "status",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_usd",
    "provider_cost_usd",
    "estimated",
    "unknown",
    "tags",
)


def attempts(
    kept: Iterable[ClosedEntry],
    local: Iterable[ClosedEntry],
    *,
    from_ms: int,
    to_ms: int,
    team_ids: Collection[str] | None = None,
) -> list[ClosedEntry]:
    """The attempts admitted in a period (`to_ms` exclusive), in order of their time. The store's word counts first."""
    found: dict[tuple[str, int], ClosedEntry] = {}
    for entries in (kept, local):
        for entry in entries:
            if entry.number < 1 or not from_ms <= entry.at_ms < to_ms:
                continue
            if team_ids is None or entry.team_id in team_ids:
                found.setdefault((entry.inference_id, entry.number), entry)
    return sorted(found.values(), key=lambda entry: (entry.at_ms, entry.inference_id, entry.number))


def line(entry: ClosedEntry, team_name: str) -> dict[str, Any]:
    """One attempt by the names of `FIELDS`. A cost that nobody knows is null, never a zero."""
    return {
        "inference_id": entry.inference_id,
        "request_id": entry.request_id,
        "attempt_id": attempt_id(entry.inference_id, entry.number),
        "upstream_id": entry.upstream_id,
        "at": format_moment(entry.at_ms),
        "team": team_name,
        "key": entry.key_id,
        "model": entry.hub_model,
        "provider": entry.provider,
        "provider_model": entry.provider_model,
        "status": entry.status,
        "prompt_tokens": entry.prompt_tokens,
        "cached_tokens": entry.cached_tokens,
        "completion_tokens": entry.completion_tokens,
        "reasoning_tokens": entry.reasoning_tokens,
        "cost_usd": usd(charge_of(entry)),
        "provider_cost_usd": usd(entry.provider_cost_nano_usd),
        "estimated": entry.estimated,
        "unknown": entry.unknown,
        "tags": dict(entry.tags),
    }


def charge_of(entry: ClosedEntry) -> int | None:
    """What the team owes for an attempt: only the one that answered is charged. None: nobody knows a price."""
    return entry.charge_nano_usd if entry.answered else 0


def usd(nano_usd: int | None) -> str | None:
    return None if nano_usd is None else format_usd(nano_usd)


def as_jsonl(entries: Iterable[ClosedEntry], team_name: Callable[[str], str]) -> Iterator[str]:
    """Lines of JSON with their ends."""
    for entry in entries:
        yield encode_json(line(entry, team_name(entry.team_id))).decode() + "\n"


def as_csv(entries: Iterable[ClosedEntry], team_name: Callable[[str], str]) -> str:
    """Tags are one cell, as in the header that they came from: `env=prod,project=x`."""
    rows = (line(entry, team_name(entry.team_id)) for entry in entries)
    return csv_text(
        FIELDS, ([_tags(value) if name == "tags" else value for name, value in row.items()] for row in rows)
    )


def _tags(tags: dict[str, str]) -> str:
    return ",".join(f"{name}={tags[name]}" for name in sorted(tags))
