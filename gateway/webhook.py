"""What a webhook gets: that a budget's threshold was reached, and the signature that proves who says so. Pure.

Signed is `<t>.<body>`, with HMAC-SHA256 and the webhook's secret; `t` is the moment of sending in Unix seconds, so that
a receiver can refuse what somebody recorded and sends again.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any, Final

from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.records import Crossing
from providers.wire import encode_json

SIGNATURE_HEADER: Final = "X-Gateway-Signature"
EVENT_TYPE: Final = "budget.threshold"


def event_id(crossing: Crossing) -> str:
    """The same whoever sends it and however often, so that a receiver can drop what it has."""
    digest = sha256(f"{crossing.team_id}|{crossing.mark}".encode()).hexdigest()
    return f"evt_{digest[:32]}"


def event_of(crossing: Crossing, team_name: str | None) -> dict[str, Any]:
    """`team` is None for the budget of the whole organisation, `key` unless it is the budget of a key."""
    period, _, window = crossing.window.partition(":")
    return {
        "id": event_id(crossing),
        "type": EVENT_TYPE,
        "at": format_moment(crossing.at_ms),
        "team": team_name,
        "key": crossing.scope.removeprefix("key:") if crossing.scope.startswith("key:") else None,
        "period": period,
        "window": window or None,
        "percent": crossing.percent,
        "budget_usd": format_usd(crossing.budget_nano_usd),
        "spent_usd": format_usd(crossing.spent_nano_usd),
    }


def signed(event: dict[str, Any], secret: str, now_s: int) -> tuple[bytes, dict[str, str]]:
    """The body and its headers."""
    body = encode_json(event)
    signature = hmac.new(secret.encode(), b"%d.%b" % (now_s, body), sha256).hexdigest()
    return body, {
        "content-type": "application/json",
        "user-agent": "inference-gateway",
        SIGNATURE_HEADER: f"t={now_s},v1={signature}",
    }
