"""A live stream to its caller: one write out for each read in, and the bill closed before the last byte goes out."""

from __future__ import annotations

from gateway.errors import AllProvidersFailed, GatewayError
from gateway.failover import listed
from gateway.metrics import Metrics
from gateway.routing.policy import TIMED_OUT
from gateway.served import Streamed
from gateway.web.request import Direct, Send
from gateway.web.responses import DONE
from providers.wire import Delta, ProviderFailure


async def relay(
    streamed: Streamed, send: Send, direct: Direct | None, metrics: Metrics, *, wants_usage: bool
) -> GatewayError | None:
    """What arrives in one read is looked at whole before any of it is sent. Where the stream broke, and nobody goes on
    with it, the bill is closed and the error is given back, to be its last event."""
    live, continuation = streamed.live, streamed.continuation
    deltas: list[Delta] = live.first
    sent_chars = 0
    try:
        while not live.ended:
            if continuation is not None:
                deltas = continuation.pass_on(deltas)
            out, chars = _events(deltas, wants_usage=wants_usage)
            if out:
                if direct is None or not direct.part(out):
                    await send({"type": "http.response.body", "body": out, "more_body": True})
                sent_chars += chars
                streamed.sent_chars = sent_chars
                streamed.bill.part(sent_chars)
            try:
                deltas = await live.read()
            except ProviderFailure as failure:
                streamed.broke(failure)
                provider, broken = streamed.offer.provider.name, failure.kind.value
                on = await streamed.go_on(broken)
                metrics.count_broken(provider, broken, continued=on is not None)
                if on is None:
                    raise
                live, deltas, sent_chars = on, on.first, 0
    except ProviderFailure as failure:
        streamed.settle(text_chars=sent_chars, broken=failure.kind.value)
        live.close()
        await streamed.bill.close(failed=True)
        return _broken(streamed, failure)
    if continuation is not None:
        deltas = continuation.pass_on(deltas)
    out, chars = _events(deltas, wants_usage=wants_usage)
    streamed.settle(text_chars=sent_chars + chars)
    await streamed.bill.close(failed=False)
    waiting = streamed.bill.synced()
    if waiting is not None:
        await waiting
    await send({"type": "http.response.body", "body": out + DONE})
    return None


def _events(deltas: list[Delta], *, wants_usage: bool) -> tuple[bytes, int]:
    """The bytes of some deltas, and how many characters of text they carry."""
    if len(deltas) == 1 and not deltas[0].usage_only:
        return b"data: " + deltas[0].data + b"\n\n", deltas[0].text_chars
    chars = 0
    parts = []
    for delta in deltas:
        if not delta.usage_only or wants_usage:
            parts.append(b"data: " + delta.data + b"\n\n")
            chars += delta.text_chars
    return b"".join(parts), chars


def _broken(streamed: Streamed, failure: ProviderFailure) -> GatewayError:
    """The last event of a stream that broke after content had gone out."""
    name = streamed.offer.provider.name
    error = AllProvidersFailed(f"{name}: the answer broke off: {failure.message}.", listed(streamed.attempts))
    error.code = "timeout" if failure.kind in TIMED_OUT else "stream_broken"
    return error
