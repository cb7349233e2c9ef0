"""From an error answer to one of our words for it, and to a sentence that is safe to show. Pure.

What differs between providers is a `FailureRules` value in the provider's file; the order in which an answer is
read is the same for all: its own code, then its text, then its status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from providers.rate_limits import RETRY_AFTER_MAX_S, read_retry_after_s
from providers.views import decode_object
from providers.wire import FailureKind, Headers, JsonObject, ProviderFailure

MESSAGE_CHARS_MAX: Final = 500
REDIRECTED: Final = "a redirect, which is not followed"


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error answer says, whichever envelope it came in."""

    text: str = ""
    """As the provider wrote it: not cleaned."""
    code: str | None = None
    kind: str | None = None
    """Its `type`, `error_type` or `reason`."""
    status: int | None = None
    """An HTTP status that stands inside the body."""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class FailureRules:
    """Where one provider's errors mean something else than everybody's."""

    statuses: Mapping[int, FailureKind] = field(default_factory=dict)
    codes: Mapping[str, FailureKind] = field(default_factory=dict)
    """By code, type or reason, in lower case."""
    texts: tuple[tuple[int | None, re.Pattern[str], FailureKind], ...] = ()
    """For answers of this status (None: of any), where the text matches."""
    throttles: frozenset[int] = frozenset({429, 502, 503, 529})
    """Statuses whose `retry-after` is meant. Together sends one with every 200."""


_OVERFLOW_TEXT: Final = re.compile(
    r"maximum context length|context[_ ]length|context window|reduce the length of the messages|prompt is too long"
    r"|input is too long|exceeds? the (model'?s? )?(maximum )?context|too many tokens"
    r"|`inputs` tokens \+ `max_new_tokens` must be",
    re.IGNORECASE,
)
_OVERFLOW_STATUSES: Final = frozenset({400, 403, 413, 422, None})
_FILTER_TEXT: Final = re.compile(
    r"\bmoderation\b|\bflagged\b|content[_ ](policy|filter)|safety (system|filter)", re.IGNORECASE
)

_CODES: Final[Mapping[str, FailureKind]] = {
    "context_length_exceeded": FailureKind.CONTEXT_OVERFLOW,
    "content_filter": FailureKind.CONTENT_FILTER,
    "content_filtered": FailureKind.CONTENT_FILTER,
    "content_policy_violation": FailureKind.CONTENT_FILTER,
    "responsibleaipolicyviolation": FailureKind.CONTENT_FILTER,
    "tool_use_failed": FailureKind.MODEL_OUTPUT,
    "insufficient_quota": FailureKind.PAYMENT,
    "billing_hard_limit_reached": FailureKind.PAYMENT,
    "not_enough_balance": FailureKind.PAYMENT,
    "insufficient_balance": FailureKind.PAYMENT,
    "invalid_api_key": FailureKind.AUTH,
    "model_not_found": FailureKind.NOT_FOUND,
    "rate_limit_exceeded": FailureKind.RATE_LIMITED,
    "queue_full": FailureKind.OVERLOADED,
    "queue_exceeded": FailureKind.OVERLOADED,
    "overloaded": FailureKind.OVERLOADED,
    "overloaded_error": FailureKind.OVERLOADED,
    "service_unavailable": FailureKind.OVERLOADED,
    "server_error": FailureKind.SERVER_ERROR,
    "internal_server_error": FailureKind.SERVER_ERROR,
    "internalservererror": FailureKind.SERVER_ERROR,
}

_STATUSES: Final[Mapping[int, FailureKind]] = {
    400: FailureKind.BAD_REQUEST,
    401: FailureKind.AUTH,
    402: FailureKind.PAYMENT,
    403: FailureKind.FORBIDDEN,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.CONFLICT,
    410: FailureKind.NOT_FOUND,
    413: FailureKind.TOO_LARGE,
    422: FailureKind.BAD_REQUEST,
    429: FailureKind.RATE_LIMITED,
    # The provider says that its own client left: a fault between us and it, not of the request.
    499: FailureKind.SERVER_ERROR,
    503: FailureKind.OVERLOADED,
    504: FailureKind.TIMEOUT,
    524: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}


def kind_of_error(rules: FailureRules, status: int | None, error: ErrorBody) -> FailureKind:
    """What went wrong. `status` is None for an error inside a 200, which may carry a status of its own.

    A provider's own meaning of a status goes before everything; a 5xx is the provider's fault whatever it says.
    """
    inside = status is None
    if inside:
        status = error.status
    for name in (error.code, error.kind):
        if name and name.lower() in rules.codes:
            return rules.codes[name.lower()]
    for of_status, pattern, kind in rules.texts:
        if of_status in (None, status) and pattern.search(error.text):
            return kind
    if status is not None and status in rules.statuses:
        return rules.statuses[status]
    for name in (error.code, error.kind):
        # A code beside a 5xx or a 401 adds nothing to what the status says.
        if name and name.lower() in _CODES and (status is None or 400 <= status < 500) and status != 401:
            return _CODES[name.lower()]
    if status in _OVERFLOW_STATUSES and _OVERFLOW_TEXT.search(error.text):
        return FailureKind.CONTEXT_OVERFLOW
    if status in (401, 403) and _HTML.match(error.text):
        return FailureKind.UNREADABLE  # the page of a proxy, which knows nothing of our key
    if status == 403 and _FILTER_TEXT.search(error.text):
        return FailureKind.CONTENT_FILTER
    return FailureKind.ERROR_EVENT if status is None else _kind_of_status(status)


def _kind_of_status(status: int) -> FailureKind:
    if status in _STATUSES:
        return _STATUSES[status]
    # Any other 4xx is about the way we asked (a wrong path, a form that is not taken there), not about the request.
    return FailureKind.SERVER_ERROR if 500 <= status < 600 else FailureKind.UNREADABLE


def read_failure(rules: FailureRules, status: int, headers: Headers, body: bytes) -> ProviderFailure:
    """The failure that an answer with an error status stands for."""
    error = read_error(body)
    retry_after_s = None
    model_only = False
    if status in rules.throttles:
        retry_after_s = read_retry_after_s(headers)
        if retry_after_s is None and error.retry_after_s is not None:
            retry_after_s = min(error.retry_after_s, RETRY_AFTER_MAX_S)
            model_only = True  # hf-inference's `estimated_time` until one model is loaded
    return ProviderFailure(
        kind_of_error(rules, status, error),
        REDIRECTED if 300 <= status < 400 else clean_message(error.text, status),
        status=status,
        code=error.code or error.kind,
        retry_after_s=retry_after_s,
        model_only=model_only,
    )


def read_error(body: bytes) -> ErrorBody:
    """Reads every envelope on record, in the order `error.message`, `error`, `message`, `detail`, `fault`, plain text.

    See "provider wire formats", section 1.7.
    """
    value = decode_object(body)
    if value is None:
        return ErrorBody(text=body[:4096].decode("utf-8", "replace"))
    return error_in(value)


def error_in(value: JsonObject) -> ErrorBody:
    """The same for an object that was already decoded: an answer's body, or one event of a stream."""
    error = value.get("error")
    inner: JsonObject = error if isinstance(error, dict) else {}
    fault = value.get("fault")
    code = _first(inner.get("code"), value.get("code"))
    return ErrorBody(
        text=_text_of(value, inner),
        code=None if code is None else str(code),
        kind=_word(inner.get("type"), value.get("error_type"), value.get("reason"), value.get("type")),
        status=_status_in(inner, value),
        retry_after_s=_seconds(value.get("estimated_time")) if not isinstance(fault, dict) else None,
    )


def _text_of(value: JsonObject, inner: JsonObject) -> str:
    error, detail, fault = value.get("error"), value.get("detail"), value.get("fault")
    for text in (inner.get("message"), error, value.get("message"), detail, inner.get("detail")):
        if isinstance(text, str) and text.strip():
            return text
    if isinstance(detail, list):
        return "; ".join(_validation_text(item) for item in detail[:5])
    if isinstance(fault, dict) and isinstance(fault.get("faultstring"), str):
        return str(fault["faultstring"])
    return ""


def _validation_text(item: object) -> str:
    """One entry of FastAPI's list: `body.messages: Field required`. Its `input` is the caller's text: left out."""
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    where = ".".join(str(step) for step in place) if isinstance(place, list) else ""
    return f"{where}: {item.get('msg', '')}" if where else str(item.get("msg", ""))


def _status_in(*places: JsonObject) -> int | None:
    for place in places:
        for name in ("http_status_code", "status_code", "status", "code"):
            number = place.get(name)
            if type(number) is int and 400 <= number < 600:
                return number
    return None


def _first(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "")), None)


def _word(*values: object) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)


def _seconds(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else None  # type: ignore[arg-type, operator]


_HTML: Final = re.compile(r"^\s*(<!doctype|<html|<head|<body|<\?xml)", re.IGNORECASE)
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>)\]}]+", re.IGNORECASE)
_HOST: Final = re.compile(
    r"\b(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
    r"(?:com|net|org|io|ai|xyz|co|dev|cloud|app|internal|local|lan|svc|cluster|eu|us|fr|de|uk|ch|nl|tech)"
    r"\b(?::\d+)?(?:/\S*)?|\blocalhost(?::\d+)?|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-f:]*:[0-9a-f:]+\](?::\d+)?",
    re.IGNORECASE,
)
_KEY: Final = re.compile(
    r"\bbearer:?\s+(?=\S*\d)\S{8,}"
    r"|\b(?:sk-|pk-|gsk_|csk-|hf_|fw_|nvapi-|tgp_|xai-)[A-Za-z0-9_*.-]{6,}"
    r"|\b(?:api[ _-]?key(?: provided)?|token|secret|password)\s*=\s*\S{6,}|\bapi[ _-]?key provided:\s*\S+"
    r"|\beyJ[A-Za-z0-9_.-]{10,}"
    r"|\b(?=[A-Za-z_]*\d)(?=[\d_]*[A-Za-z])[A-Za-z0-9_]{28,}\b",
    re.IGNORECASE,
)


def clean_message(text: str, status: int | None = None) -> str:
    """A sentence for a caller: one line, at most 500 characters, without addresses, keys or HTML."""
    text = text[:4096]
    if _HTML.match(text):
        text = "an HTML page"
    text = _URL.sub("[address]", text)
    text = _KEY.sub("[secret]", text)
    text = _HOST.sub("[address]", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not text:
        text = "an error without a message" if status is None else f"status {status} without a message"
    return text if len(text) <= MESSAGE_CHARS_MAX else text[: MESSAGE_CHARS_MAX - 1] + "…"
