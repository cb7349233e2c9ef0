"""HTTP/1.1 as bytes: requests are framed, responses are read. No sockets and no clock.

A `ResponseReader` is fed what a connection received after one request and shows what that amounts to: a status,
headers, pieces of body, an end or a fault. However the bytes are cut, the outcome is the same. It is strict
where leniency would let two parties disagree about where a response ends (two lengths, a length beside
chunks, bare line feeds, bad chunk sizes): those are faults, never guesses.
"""

import re
from collections.abc import Iterable

import httptools

from gateway.upstream.faults import ConnectionReset, ProtocolBroken, ResponseTruncated, UpstreamFault

HEAD_BYTES_MAX = 64 * 1024
HEAD_FIELDS_MAX = 200

# Bytes that may pass without any body coming of them: heads, interim responses, chunk extensions, trailers.
# Larger than HEAD_BYTES_MAX, since it also counts what a head is separated by.
_QUIET_BYTES_MAX = 2 * HEAD_BYTES_MAX

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING_FIELDS = frozenset((b"content-length", b"transfer-encoding"))
_BODYLESS_METHODS = (b"GET ", b"HEAD ", b"DELETE ", b"OPTIONS ")


def frame_head_prefix(method: bytes, target: bytes, authority: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The part of a request that stays the same: request line, host, fixed headers. Meant to be kept.

    `accept-encoding: identity` and `host` are added unless `headers` has them. Raises ValueError, before
    anything is sent, for a method, target or header that would not arrive as one.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError("the method is not a token")
    if not _TARGET.fullmatch(target):
        raise ValueError("the target holds a space, control or non-ASCII character")
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if b"accept-encoding" not in names:
        fields.insert(0, (b"accept-encoding", b"identity"))
    if b"host" not in names:
        fields.insert(0, (b"host", authority))
    return b"%b %b HTTP/1.1\r\n%b" % (method, target, _field_lines(fields))


def frame_request(prefix: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A whole request: a prefix made by `frame_head_prefix`, this request's own headers, and the body.

    The length of the body is stated here and nowhere else. Raises ValueError as `frame_head_prefix` does.
    """
    lines = _field_lines(headers)
    if body or not prefix.startswith(_BODYLESS_METHODS):
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (prefix, lines, len(body), body)
    return b"%b%b\r\n" % (prefix, lines)


def _field_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError("a header's name is not a token")
        if _CONTROL.search(value):
            # The value may be a secret and stays out of the message.
            raise ValueError(f"the value of header {name.decode()} holds a control character")
        if name.lower() in _FRAMING_FIELDS:
            raise ValueError(f"header {name.decode()} is written by the framing itself")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


class ResponseReader:
    """What has come so far of the response to one request.

    `headers` have lower-cased names. `body` holds the pieces not yet taken. `fault` is set instead of raised, as
    the pieces before it are still worth having. `keep_alive` says, once `complete`, whether the connection
    may carry another request: the peer agreed, and not a byte followed the end.
    """

    __slots__ = (
        "_framed",
        "_head_only",
        "_parser",
        "_quiet_bytes",
        "body",
        "buffered_bytes",
        "complete",
        "content_encodings",
        "fault",
        "head_complete",
        "headers",
        "keep_alive",
        "on_body",
        "status",
    )

    def __init__(self, method: bytes = b"GET") -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_encodings: list[bytes] = []
        self.body: list[bytes] = []
        self.buffered_bytes = 0
        self.head_complete = False
        self.complete = False
        self.keep_alive = False
        self.fault: UpstreamFault | None = None
        self._framed = False
        self._head_only = method == b"HEAD"
        self._quiet_bytes = 0
        # The parser calls its `on_*` attributes; the list's own append is the fastest of all receivers.
        self.on_body = self.body.append
        self._parser = httptools.HttpResponseParser(self)

    @property
    def untouched(self) -> bool:
        """Whether not a single byte has come."""
        return not self._quiet_bytes and not self.head_complete

    def feed(self, data: bytes) -> None:
        """Take bytes as they came. Faults are set, not raised; bytes after the end forbid `keep_alive`."""
        if self.complete or self.fault is not None:
            self.keep_alive = False
            return
        pieces_before = len(self.body)
        self.buffered_bytes += len(data)
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.complete:
                self.keep_alive = False
            elif self.fault is None:
                self.fault = ProtocolBroken(f"the answer is not valid HTTP/1.1: {error}")
        if self._head_only and self.body:
            self.body.clear()
            self.keep_alive = False
        if self.complete or self.fault is not None:
            del self._parser  # it refers to us: without a cycle there is nothing to collect
        elif len(self.body) > pieces_before:
            self._quiet_bytes = 0
        elif self._quiet_bytes > _QUIET_BYTES_MAX:
            self.fail(ProtocolBroken("the answer's head, chunk framing or trailer is too long"))

    def feed_eof(self) -> None:
        """The peer said that nothing more will come."""
        if self.complete or self.fault is not None:
            return
        if self.head_complete and not self._framed:
            self.complete = True
        else:
            self.cut()

    def cut(self) -> None:
        """The connection broke: whatever is not complete never will be."""
        self.fail(ResponseTruncated() if self.head_complete else ConnectionReset())

    def fail(self, fault: UpstreamFault) -> None:
        """Nothing more will come, unless all has come or it failed before."""
        if not self.complete and self.fault is None:
            self.fault = fault
            del self._parser  # as in `feed`

    def hand_over_fault(self) -> UpstreamFault:
        """The fault, to be raised by who asks for nothing more: what is raised holds the frames that hold this, and
        must not be held by it."""
        assert self.fault is not None
        fault, self.fault = self.fault, ResponseTruncated("the answer was given up")
        return fault

    def take(self) -> bytes:
        """All body bytes that came since the last call, joined."""
        body = self.body
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self.buffered_bytes = 0
        return data

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.complete:
            raise _BytesAfterEnd

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_complete:
            return  # a trailer: nothing of ours is told by one
        name = name.lower()
        self.headers.append((name, value))
        if name in _NOTED_FIELDS:
            self._note(name, value.strip().lower())

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._skip_interim(status)
            return
        if self._parser.get_http_version() not in _VERSIONS:
            raise self._broken("the answer is of an unknown HTTP version")
        if len(self.headers) > HEAD_FIELDS_MAX:
            raise self._broken("the answer has too many headers")
        # The exact sum is worth computing only if as many bytes came at all.
        if self._quiet_bytes > HEAD_BYTES_MAX and self._head_bytes() > HEAD_BYTES_MAX:
            raise self._broken("the answer's headers are too long")
        self.status = status
        self.head_complete = True
        if self._head_only:
            self._end()

    def on_message_complete(self) -> None:
        if self.head_complete and not self.complete:
            self._end()

    def _end(self) -> None:
        self.complete = True
        self.keep_alive = self._parser.should_keep_alive()

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-encoding":
            codings = (part.strip() for part in value.split(b","))
            self.content_encodings.extend(coding for coding in codings if coding not in (b"", b"identity"))
            return
        self._framed = True
        if name == b"transfer-encoding" and value != b"chunked":
            raise self._broken("the answer has a transfer encoding that was not asked for")

    def _skip_interim(self, status: int) -> None:
        # 101 would end HTTP on this connection, and we never ask for that.
        if status < 100 or status == 101:
            raise self._broken("the answer has an unexpected status")
        self.headers.clear()
        self.content_encodings.clear()
        self._framed = False

    def _head_bytes(self) -> int:
        return sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _broken(self, message: str) -> ProtocolBroken:
        # The parser wraps what its receivers raise; the reason is kept here.
        self.fault = fault = ProtocolBroken(message)
        return fault


class _BytesAfterEnd(Exception):
    """Stops the parser from reading a second response into the first."""


_VERSIONS = ("1.1", "1.0")
_NOTED_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"content-encoding"))
