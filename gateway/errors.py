"""Every error a caller of the gateway can see, with its status, type and code.

    GatewayError
    ├── InvalidRequest        400  the request is wrong; `param` names the field
    ├── InvalidKey            401
    ├── BudgetExceeded        402
    ├── Forbidden             403
    ├── NotFound              404  model_not_found, or a path that does not exist
    ├── MethodNotAllowed      405
    ├── Conflict              409
    ├── TooLarge              413
    ├── UnsupportedMedia      415
    ├── RateLimited           429  the caller's own limit
    ├── Overloaded            429  our own queue is full
    ├── AllProvidersFailed    502  with the list of attempts
    ├── NoProviderAvailable   502
    ├── LedgerUnavailable     502
    ├── UpstreamTimeout       504
    ├── ShuttingDown          502
    └── InternalError         500  ours; says nothing but the request's id

A provider's own failure is a `ProviderFailure` (providers/wire.py) and never reaches a caller as it is.
There is no 503 on an inference route: a widely used client re-sends one at once and forever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class GatewayError(Exception):
    """An answer to a caller. `message` says what was wrong and what would be right; it never holds a secret."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code
        self.retry_after_s = retry_after_s
        self.headers = tuple(headers)

    def as_json(self) -> dict[str, Any]:
        """The body: `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"


class InvalidKey(GatewayError):
    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class BudgetExceeded(GatewayError):
    status = 402
    type = "insufficient_quota"
    default_code = "budget_exceeded"


class Forbidden(GatewayError):
    status = 403
    type = "permission_error"
    default_code = "model_not_allowed"


class NotFound(GatewayError):
    status = 404
    type = "invalid_request_error"
    default_code = "model_not_found"


class MethodNotAllowed(GatewayError):
    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class Conflict(GatewayError):
    status = 409
    type = "invalid_request_error"
    default_code = "conflict"


class TooLarge(GatewayError):
    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class UnsupportedMedia(GatewayError):
    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_media_type"


class RateLimited(GatewayError):
    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"


class Overloaded(GatewayError):
    status = 429
    type = "rate_limit_error"
    default_code = "gateway_overloaded"


class AllProvidersFailed(GatewayError):
    """`attempts` lists each try: provider, status (None where there was no answer) and reason."""

    status = 502
    type = "upstream_error"
    default_code = "all_providers_failed"

    def __init__(self, message: str, attempts: Sequence[dict[str, Any]], *, retry_after_s: float | None = None):
        super().__init__(message, retry_after_s=retry_after_s)
        self.attempts = list(attempts)

    def as_json(self) -> dict[str, Any]:
        body = super().as_json()
        body["error"]["attempts"] = self.attempts
        return body


class UpstreamTimeout(AllProvidersFailed):
    status = 504
    default_code = "timeout"


class NoProviderAvailable(GatewayError):
    status = 502
    type = "upstream_error"
    default_code = "no_provider_available"


class LedgerUnavailable(GatewayError):
    status = 502
    type = "server_error"
    default_code = "ledger_unavailable"


class ShuttingDown(GatewayError):
    """The drain is over and the request was still under way."""

    status = 502
    type = "server_error"
    default_code = "shutting_down"


class InternalError(GatewayError):
    status = 500
    type = "server_error"
    default_code = "internal_error"
