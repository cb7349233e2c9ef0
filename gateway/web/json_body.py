"""What the plain routes share: a JSON body within limits, and errors of ours as answers.

The hot routes read and answer by themselves; everything here goes through Starlette's Request and Response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.errors import GatewayError, InvalidRequest, LedgerUnavailable, TooLarge, UnsupportedMedia
from gateway.store.base import StoreAway
from gateway.web.responses import error_response
from providers.wire import JsonError, decode_json

BODY_BYTES_MAX: Final = 1 << 20
AWAY_RETRY_S: Final = 5.0

Handler = Callable[[Request], Awaitable[Response]]


def answering_errors(handler: Handler) -> Handler:
    """The handler, with a GatewayError or a store that is away told to the caller as the contract has it."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except GatewayError as error:
            return error_response(error)
        except StoreAway as away:
            return error_response(
                LedgerUnavailable(f"The store cannot be asked now: {away.reason}.", retry_after_s=AWAY_RETRY_S)
            )
        except ClientDisconnect:
            return Response(status_code=400)

    return answer


async def read_json(request: Request, *, optional: bool = False) -> Any:
    """The body's value; with `optional` an empty body is an empty object. Raises InvalidRequest, TooLarge (1 MiB) and
    UnsupportedMedia (a compressed body)."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("The body must not be compressed: send it without Content-Encoding.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"The body is larger than {BODY_BYTES_MAX >> 20} MiB.")
    if optional and not body.strip():
        return {}
    try:
        return decode_json(bytes(body))
    except (JsonError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not JSON: {error}") from None


def raw_headers(request: Request) -> dict[bytes, bytes]:
    """Headers as ASGI gives them, as the authenticator reads them."""
    return dict(request.scope["headers"])
