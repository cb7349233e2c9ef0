"""Content encodings of bodies, streaming and capped: gzip and deflate in, bytes out. No sockets.

We ask for `identity`; some peers compress all the same. What they send is never unpacked beyond the limit the
caller gives, so a small body cannot become a large one.
"""

import zlib

from gateway.upstream.faults import BodyTooLarge, ProtocolBroken

_GZIP_WINDOW = 31
_ZLIB_WINDOW = 15
_RAW_WINDOW = -15
_GZIP_NAMES = frozenset((b"gzip", b"x-gzip"))


def decoder_for(encodings: list[bytes], limit_bytes: int) -> "BodyDecoder":
    """The decoder for the content-encodings of a response (lower-cased, `identity` left out).

    Raises ProtocolBroken for anything but one gzip or deflate.
    """
    if len(encodings) != 1 or encodings[0] not in _GZIP_NAMES | {b"deflate"}:
        raise ProtocolBroken("the answer has a content encoding that was not asked for")
    return BodyDecoder(encodings[0], limit_bytes)


class BodyDecoder:
    """Decodes one body. After an exception it is of no further use."""

    def __init__(self, encoding: bytes, limit_bytes: int) -> None:
        self._gzip = encoding in _GZIP_NAMES
        self._limit_bytes = limit_bytes
        self._decoded_bytes = 0
        self._inflater: zlib._Decompress | None = None

    def decode(self, data: bytes) -> bytes:
        """What these bytes amount to. Raises BodyTooLarge, or ProtocolBroken if they are not what they claim."""
        parts = []
        while data:
            if self._inflater is None:
                self._inflater = zlib.decompressobj(self._window(data[0]))
            room = self._limit_bytes - self._decoded_bytes
            try:
                # One byte more than fits tells "exactly the limit" from "beyond it".
                part = self._inflater.decompress(data, room + 1)
            except zlib.error as error:
                raise ProtocolBroken("the answer's content encoding is broken") from error
            if len(part) > room:
                raise BodyTooLarge(self._limit_bytes)
            self._decoded_bytes += len(part)
            parts.append(part)
            data = self._rest()
        return b"".join(parts)

    def finish(self) -> None:
        """The body is over. Raises ProtocolBroken if the encoded bytes are not; an empty body is fine."""
        if self._inflater is not None and not self._inflater.eof:
            raise ProtocolBroken("the answer's content encoding ends early")

    def _window(self, first_byte: int) -> int:
        if self._gzip:
            return _GZIP_WINDOW
        # "deflate" is zlib by the standard and raw deflate by custom; a zlib header's low half is always 8.
        return _ZLIB_WINDOW if first_byte & 0x0F == 8 else _RAW_WINDOW

    def _rest(self) -> bytes:
        """What is left to decode: input held back by the cap, or, for gzip, another member."""
        inflater = self._inflater
        assert inflater is not None
        if not inflater.eof:
            return inflater.unconsumed_tail
        if inflater.unused_data and not self._gzip:
            raise ProtocolBroken("the answer goes on after its content encoding has ended")
        if inflater.unused_data:
            self._inflater = None
        return inflater.unused_data
