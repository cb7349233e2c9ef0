"""The flags of `teams create|update` and `keys create`, and the JSON fields that they stand for.

Values are not judged here: `tenant_fields` does that, for the admin API and the command line alike.
"""

from __future__ import annotations

import argparse
import re
import secrets
from typing import Any, Final

JsonObject = dict[str, Any]

_BUDGET: Final = {"usd": "budget_usd", "period": "budget_period", "enforce": "budget_enforce"}
_LIMITS: Final = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "concurrency": "concurrency"}


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """What a team and a key both take."""
    parser.add_argument("--budget-usd", metavar="X", help="what may be spent in a period, such as 100.00")
    parser.add_argument("--budget-period", metavar="P", help="day, month (default) or total")
    parser.add_argument("--budget-enforce", metavar="E", help="strict (default) or soft")
    parser.add_argument("--warn-at", metavar="PERCENT", help="warn at these percentages, such as 80,100 (the default)")
    parser.add_argument("--rpm", metavar="N", type=int, help="requests per minute")
    parser.add_argument("--tpm", metavar="N", type=int, help="tokens per minute")
    parser.add_argument("--concurrency", metavar="N", type=int, help="requests at a time")
    parser.add_argument("--model", metavar="GLOB", action="append", help="models that may be used; again for more")
    parser.add_argument("--provider", metavar="P", action="append", help="providers that may be used; again for more")


def add_team_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timezone", metavar="ZONE", help="of budget periods and reports, such as Europe/Berlin")
    parser.add_argument("--when-store-down", metavar="W", help="deny, allow-bounded or allow")
    parser.add_argument("--unpriced", metavar="U", help="allow or refuse models without a known price")
    parser.add_argument("--accepts-from", metavar="TEAM", action="append", help="teams whose keys may bill this one")
    parser.add_argument("--webhook-url", metavar="URL", help="gets budget warnings; its secret is made and shown once")


def add_key_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--expires-at", metavar="TIME", help="ISO 8601 date or time")
    parser.add_argument(
        "--may-bill", metavar="TEAM", action="append", help="teams that the key may bill; again for more"
    )
    parser.add_argument("--scope", metavar="S", action="append", help="inference, usage (default: both)")


def common_fields(args: argparse.Namespace) -> JsonObject:
    """The JSON fields of the flags that were given."""
    budget: JsonObject = {name: value for name, flag in _BUDGET.items() if (value := getattr(args, flag)) is not None}
    if args.warn_at is not None:
        budget["warn_at"] = percentages(args.warn_at)
    limits = {name: value for name, flag in _LIMITS.items() if (value := getattr(args, flag)) is not None}
    fields = {"budget": budget or None, "limits": limits or None, "models": args.model, "providers": args.provider}
    return _given(fields)


def team_fields(args: argparse.Namespace) -> JsonObject:
    fields = {
        "timezone": args.timezone,
        "when_store_down": args.when_store_down,
        "unpriced": args.unpriced,
        "accepts_from": args.accepts_from,
    }
    return common_fields(args) | _given(fields)


def key_fields(args: argparse.Namespace) -> JsonObject:
    fields = {"expires_at": args.expires_at, "may_bill": args.may_bill, "scopes": args.scope}
    return common_fields(args) | _given(fields)


def webhook_field(url: str) -> JsonObject:
    """A webhook with a secret of our making: one among the arguments would be seen by `ps`."""
    return {"url": url, "secret": secrets.token_urlsafe(32)}


def _given(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def percentages(text: str) -> list[Any]:
    """`80,100` to numbers; what is none stays a text, for the fields' reader to refuse."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return [int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part for part in parts]
