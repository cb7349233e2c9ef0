"""What an administrator may say of a team or a key, as JSON fields: read, checked and laid over what is there.

A field that is not given stays; `null` puts its default back; an object (`budget`, `limits`, `webhook`, `ceilings`) is
merged with the one that is there, as in a JSON merge patch. Every fault is an InvalidRequest that names its field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.errors import InvalidRequest
from gateway.moments import parse_moment, zone_named
from gateway.money import format_usd, parse_usd
from gateway.suggest import did_you_mean
from gateway.tenants import Budget, Key, Limits, Organisation, Team, Webhook

SCOPES: Final = ("inference", "usage")
PERIODS: Final = ("day", "month", "total")
ENFORCEMENTS: Final = ("strict", "soft")
STORE_DOWN: Final = ("deny", "allow-bounded", "allow")
UNPRICED: Final = ("allow", "refuse")

LIST_LENGTH_MAX: Final = 1000
LIMIT_MAX: Final = 10**12
WARN_AT_MAX: Final = 1000
"""Percent; a soft budget may be overrun, and overruns be warned about."""
WEBHOOK_SECRET_CHARS_MIN: Final = 16
TEXT_CHARS_MAX: Final = 2048

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_GLOB: Final = re.compile(r"[A-Za-z0-9._/*?\[\]!-]{1,200}")

Reader = Callable[[Any, str, Any], Any]
"""(value, the field's name for messages, what is there now) to the new value. Raises InvalidRequest."""


def read_team(base: Team, given: object) -> Team:
    """`base` with the fields of a JSON object laid over it."""
    team: Team = _overlay(base, given, "a team", _TEAM)
    return team


def read_key(base: Key, given: object, now_ms: int) -> Key:
    """`base` with the fields of a JSON object laid over it; `expires_at` must lie after `now_ms`."""
    key: Key = _overlay(base, given, "a key", _KEY)
    if key.expires_at_ms != base.expires_at_ms and key.expires_at_ms is not None and key.expires_at_ms <= now_ms:
        raise InvalidRequest("expires_at lies in the past", param="expires_at")
    return key


def read_organisation(base: Organisation, given: object) -> Organisation:
    """`base` with the fields of a JSON object laid over it; its budget is a soft one."""
    organisation: Organisation = _overlay(base, given, "the organisation", _ORGANISATION)
    return organisation


def read_overlap_s(given: object, default_s: int, most_s: int) -> int:
    """`overlap_seconds` of a rotation."""
    body = _object(given, "", "a rotation", ("overlap_seconds",))
    value = body.get("overlap_seconds")
    if value is None:
        return default_s
    if not _is_integer(value) or not 0 <= value <= most_s:
        raise InvalidRequest(f"overlap_seconds must be an integer from 0 to {most_s}", param="overlap_seconds")
    return int(value)


def _overlay(base: Any, given: object, what: str, table: Mapping[str, tuple[str, Reader]]) -> Any:
    body = _object(given, "", what, table)
    defaults = {entry.name: entry.default for entry in fields(base)}
    changes = {}
    for name, value in body.items():
        attribute, read = table[name]
        if value is not None:
            changes[attribute] = read(value, name, getattr(base, attribute))
        elif defaults[attribute] is MISSING:
            raise InvalidRequest(f"{name} cannot be null", param=name)
        else:
            changes[attribute] = defaults[attribute]
    return replace(base, **changes)


def _object(value: object, param: str, what: str, known: Iterable[str]) -> Mapping[str, Any]:
    """A JSON object with only known fields. `param` is its own name, empty for the whole body."""
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{param or 'the body'} must be a JSON object", param=param or None)
    known = tuple(known)
    for name in value:
        if name not in known:
            dotted = f"{param}.{name}" if param else str(name)
            hint = did_you_mean(str(name), known) or f" Expected: {', '.join(known)}."
            raise InvalidRequest(f"{dotted[:200]!r} is not a field of {what}.{hint}", param=dotted[:200])
    return value


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        raise InvalidRequest(f"{param} must be a text of 1 to {TEXT_CHARS_MAX} characters", param=param)
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _name(value: Any, param: str, _current: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise InvalidRequest(
            f"{param} must be 1 to 63 of the characters a-z 0-9 . _ - and begin with a letter or digit", param=param
        )
    return value


def _choice(*choices: str) -> Reader:
    def read(value: Any, param: str, _current: Any) -> str:
        if value in choices and isinstance(value, str):
            return value
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise InvalidRequest(f"{param} must be one of: {', '.join(choices)}.{hint}", param=param)

    return read


def _texts(pattern: re.Pattern[str], expected: str) -> Reader:
    """A list of texts that match `pattern`, each once."""

    def read(value: Any, param: str, _current: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > LIST_LENGTH_MAX:
            raise InvalidRequest(f"{param} must be a list of at most {LIST_LENGTH_MAX} texts", param=param)
        for index, entry in enumerate(value):
            if not isinstance(entry, str) or not pattern.fullmatch(entry):
                raise InvalidRequest(f"{param}[{index}] must be {expected}", param=f"{param}[{index}]")
        return tuple(dict.fromkeys(value))

    return read


def _scopes(value: Any, param: str, current: Any) -> tuple[str, ...]:
    scopes: tuple[str, ...] = _texts(re.compile("|".join(SCOPES)), f"one of: {', '.join(SCOPES)}")(
        value, param, current
    )
    if not scopes:
        raise InvalidRequest(f"{param} must name at least one of: {', '.join(SCOPES)}", param=param)
    return scopes


def _amount(value: Any, param: str) -> int:
    """A decimal text, or a JSON number taken by its shortest text, to nano-USD."""
    if isinstance(value, float) or _is_integer(value):
        value = repr(value).removesuffix(".0")
    try:
        return parse_usd(_text(value, param))
    except ValueError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None


def _budget(value: Any, param: str, current: Budget | None) -> Budget:
    body = _object(value, param, "a budget", ("usd", "period", "enforce", "warn_at"))
    given = {name: entry for name, entry in body.items() if entry is not None}
    if "usd" not in given and current is None:
        raise InvalidRequest(f"{param}.usd is missing", param=f"{param}.usd")
    budget = current if current is not None else Budget(nano_usd=0)
    if "usd" in given:
        budget = replace(budget, nano_usd=_amount(given["usd"], f"{param}.usd"))
    if "period" in given:
        budget = replace(budget, period=_choice(*PERIODS)(given["period"], f"{param}.period", None))
    if "enforce" in given:
        budget = replace(budget, enforce=_choice(*ENFORCEMENTS)(given["enforce"], f"{param}.enforce", None))
    if "warn_at" in given:
        budget = replace(budget, warn_at=_percentages(given["warn_at"], f"{param}.warn_at"))
    return budget


def _soft_budget(value: Any, param: str, current: Budget | None) -> Budget:
    budget = replace(_budget(value, param, current), enforce="soft")
    if isinstance(value, Mapping) and value.get("enforce") not in (None, "soft"):
        raise InvalidRequest(
            f"{param}.enforce can only be soft: the sum over all teams is not exact", param=f"{param}.enforce"
        )
    return budget


def _percentages(value: Any, param: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or len(value) > 10:
        raise InvalidRequest(f"{param} must be a list of at most 10 percentages", param=param)
    if not all(_is_integer(entry) and 1 <= entry <= WARN_AT_MAX for entry in value):
        raise InvalidRequest(f"{param} must hold integers from 1 to {WARN_AT_MAX}", param=param)
    return tuple(sorted(set(value)))


def _limits(value: Any, param: str, current: Limits) -> Limits:
    names = tuple(entry.name for entry in fields(Limits))
    body = _object(value, param, "limits", names)
    for name, limit in body.items():
        if limit is not None and not (_is_integer(limit) and 1 <= limit <= LIMIT_MAX):
            raise InvalidRequest(f"{param}.{name} must be an integer from 1 to {LIMIT_MAX}", param=f"{param}.{name}")
    return replace(current, **body)


def _timezone(value: Any, param: str, _current: Any) -> str:
    try:
        return zone_named(_text(value, param)).key
    except ValueError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None


def _webhook(value: Any, param: str, current: Webhook | None) -> Webhook:
    body = _object(value, param, "a webhook", ("url", "secret"))
    url = body.get("url") or (current.url if current else None)
    secret = body.get("secret") or (current.secret if current else None)
    if url is None:
        raise InvalidRequest(f"{param}.url is missing", param=f"{param}.url")
    if secret is None:
        raise InvalidRequest(f"{param}.secret is missing: budget warnings are signed with it", param=f"{param}.secret")
    if len(_text(secret, f"{param}.secret")) < WEBHOOK_SECRET_CHARS_MIN:
        raise InvalidRequest(
            f"{param}.secret must be at least {WEBHOOK_SECRET_CHARS_MIN} characters", param=f"{param}.secret"
        )
    return Webhook(url=_web_url(url, f"{param}.url"), secret=secret)


def _web_url(value: Any, param: str) -> str:
    url = _text(value, param)
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not re.fullmatch(r"[!-~]+", url) or "@" in parts.netloc:
        raise InvalidRequest(f"{param} must be a http:// or https:// URL without a user name", param=param)
    return url


def _ceilings(value: Any, param: str, current: dict[str, object] | None) -> dict[str, object]:
    body = _object(value, param, "ceilings", ("only", "ignore", "max_price"))
    ceilings = dict(current or {})
    for name in ("only", "ignore"):
        if body.get(name) is not None:
            ceilings[name] = list(_PROVIDERS(body[name], f"{param}.{name}", None))
    if body.get("max_price") is not None:
        prices = _object(body["max_price"], f"{param}.max_price", "a price ceiling", ("input", "output"))
        ceilings["max_price"] = {
            name: format_usd(_amount(price, f"{param}.max_price.{name}"))
            for name, price in prices.items()
            if price is not None
        }
    return ceilings


def _future(value: Any, param: str, _current: Any) -> int:
    try:
        return parse_moment(_text(value, param))
    except ValueError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None


_TEAMS: Final = _texts(NAME, "the name of a team")
_PROVIDERS: Final = _texts(NAME, "the name of a provider")
_MODELS: Final = _texts(_GLOB, "a Hub model id or a pattern such as meta-llama/*")

_COMMON: Final[Mapping[str, tuple[str, Reader]]] = {
    "budget": ("budget", _budget),
    "limits": ("limits", _limits),
    "models": ("models", _MODELS),
    "providers": ("providers", _PROVIDERS),
}
_TEAM: Final[Mapping[str, tuple[str, Reader]]] = {
    "team": ("name", _name),
    **_COMMON,
    "timezone": ("timezone", _timezone),
    "when_store_down": ("when_store_down", _choice(*STORE_DOWN)),
    "unpriced": ("unpriced", _choice(*UNPRICED)),
    "accepts_from": ("accepts_from", _TEAMS),
    "ceilings": ("ceilings", _ceilings),
    "webhook": ("webhook", _webhook),
}
_KEY: Final[Mapping[str, tuple[str, Reader]]] = {
    **_COMMON,
    "expires_at": ("expires_at_ms", _future),
    "may_bill": ("may_bill", _TEAMS),
    "scopes": ("scopes", _scopes),
}
_ORGANISATION: Final[Mapping[str, tuple[str, Reader]]] = {
    "budget": ("budget", _soft_budget),
    "webhook": ("webhook", _webhook),
}
