"""What can go wrong between us and a provider's socket, as one small tree of exceptions.

    UpstreamFault
     ├─ ConnectFailed      refused, unknown name, TLS        nothing was sent
     ├─ TimedOut
     │   ├─ ConnectTimedOut                                  nothing was sent
     │   ├─ PoolTimedOut   no connection became free         nothing was sent
     │   ├─ WriteTimedOut  the peer stopped reading          sent in part
     │   ├─ FirstByteTimedOut  no response head in time      sent
     │   └─ ReadTimedOut   silence inside the body           sent, answered in part
     ├─ ConnectionReset    broke before the response head    see `written`
     ├─ ResponseTruncated  broke inside the body             sent, answered in part
     ├─ ProtocolBroken     bytes that are no HTTP/1.1 response, or beyond our limits
     └─ BodyTooLarge       more body than the caller allows

Messages are short and hold no address, header or body, so that they may be shown to a client.
"""


class UpstreamFault(Exception):
    """Any failure of one exchange with an upstream."""


class ConnectFailed(UpstreamFault):
    """No connection could be made.

    `certificate` is true if the peer's certificate was refused: trying again will not help.
    """

    def __init__(self, message: str, *, certificate: bool = False) -> None:
        super().__init__(message)
        self.certificate = certificate


class TimedOut(UpstreamFault):
    """A phase took longer than allowed."""


class ConnectTimedOut(TimedOut):
    """Name look-up, TCP and TLS handshakes together took longer than `connect_s`."""

    def __init__(self) -> None:
        super().__init__("connecting took too long")


class PoolTimedOut(TimedOut):
    """All connections to the origin were busy for longer than `pool_s`."""

    def __init__(self) -> None:
        super().__init__("no connection became free in time")


class WriteTimedOut(TimedOut):
    """The peer did not take the whole request within `write_s`."""

    def __init__(self) -> None:
        super().__init__("the request could not be sent in time")


class FirstByteTimedOut(TimedOut):
    """The response head was not complete `first_byte_s` after the request had been sent."""

    def __init__(self) -> None:
        super().__init__("the answer did not begin in time")


class ReadTimedOut(TimedOut):
    """No byte of the body came for `read_timeout_s` while the caller was waiting for one."""

    def __init__(self) -> None:
        super().__init__("the answer stopped coming")


class ConnectionReset(UpstreamFault):
    """The connection ended before a response head had come.

    `written` is false if the request had not been handed over in full, so that no correct peer can
    have acted on it.
    """

    def __init__(self, *, written: bool = True) -> None:
        super().__init__("the connection was closed before an answer came")
        self.written = written


class ResponseTruncated(UpstreamFault):
    """The connection ended inside the body."""

    def __init__(self, message: str = "the connection was closed inside the answer") -> None:
        super().__init__(message)


class ProtocolBroken(UpstreamFault):
    """The bytes received are no valid response, or exceed a limit on heads, framing or encodings."""


class BodyTooLarge(UpstreamFault):
    """The body, after decoding, is longer than the caller allows."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the answer is longer than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes
