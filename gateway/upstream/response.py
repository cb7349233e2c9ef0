"""The response to one exchange, as its caller reads it: status, headers, and the body as it comes.

Once the body is complete the connection goes back to the pool by itself, read or unread. Whoever does not
read to the end must call `close()`.
"""

import asyncio

from gateway.upstream.channel import Channel
from gateway.upstream.connection import ResponseReader
from gateway.upstream.decoding import BodyDecoder, decoder_for
from gateway.upstream.faults import BodyTooLarge, ProtocolBroken, ResponseTruncated

# What an encoded body may unpack to unless the caller says otherwise.
DECODED_BYTES_MAX = 64 * 1024 * 1024


class Response:
    """`headers` are in order, names lower-cased. `encoded` says whether the body is decoded on its way.

    `read_timeout_s` (seconds or None) and `decoded_bytes_max` may be changed by the caller; the first holds from the
    next read on and runs only while a read waits, the second until the first read.
    """

    __slots__ = (
        "_channel",
        "_decoder",
        "_reader",
        "decoded_bytes_max",
        "encoded",
        "headers",
        "read_timeout_s",
        "status",
    )

    def __init__(self, channel: Channel, reader: ResponseReader, read_timeout_s: float | None) -> None:
        self._channel = channel
        self._reader = reader
        self.encoded = bool(reader.content_encodings)
        self._decoder: BodyDecoder | None = None
        self.status = reader.status
        self.headers = reader.headers
        self.read_timeout_s = read_timeout_s
        self.decoded_bytes_max = DECODED_BYTES_MAX

    def __repr__(self) -> str:
        return f"<Response {self.status}{' complete' if self._reader.complete else ''}>"

    @property
    def complete(self) -> bool:
        """The whole body has come, read or unread, and the connection is free again."""
        return self._reader.complete

    async def read_chunk(self) -> bytes:
        """All body bytes that came since the last call, decoded; b"" at the end.

        Raises ReadTimedOut, ResponseTruncated, ProtocolBroken or, for encoded bodies, BodyTooLarge, after what came
        before has been returned. A cancelled read drops the connection.
        """
        if self.encoded:
            return await self._read_decoded()
        reader = self._reader
        while not reader.body:
            if reader.complete:
                return b""
            await self._progress()
        return self._take()

    def take_now(self) -> bytes | None:
        """What has come and was not read yet; b"" at the end; None where `arrival` must be awaited first. Raises as
        `read_chunk`. For bodies that are not `encoded`."""
        reader = self._reader
        if reader.body:
            return self._take()
        if reader.complete:
            return b""
        if reader.fault is not None:
            raise reader.fault
        return None

    def arrival(self) -> asyncio.Future[None]:
        """Done when there is more to take, or failed with what ended it. Whoever cancels it must `close`."""
        return self._channel.next_body(self.read_timeout_s)

    async def read(self, limit_bytes: int) -> bytes:
        """The rest of the body. Raises as `read_chunk`, and BodyTooLarge above `limit_bytes`, decoded."""
        self.decoded_bytes_max = min(self.decoded_bytes_max, limit_bytes)
        parts: list[bytes] = []
        total_bytes = 0
        while chunk := await self.read_chunk():
            total_bytes += len(chunk)
            if total_bytes > limit_bytes:
                self.close()
                raise BodyTooLarge(limit_bytes)
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Be done with it: unless the body is complete, the connection is dropped at once. Idempotent."""
        if not self._reader.complete:
            self._channel.abandon(self._reader, ResponseTruncated("the answer was closed by its reader"))
            self._reader.hand_over_fault()

    async def aclose(self) -> None:
        """As `close()`; for callers that expect to await it. It waits for nothing."""
        self.close()

    async def _progress(self) -> None:
        """Wait until the reader has more to show, or raise what ended it."""
        reader = self._reader
        if reader.fault is not None:
            raise reader.fault
        try:
            await self._channel.next_body(self.read_timeout_s)
        except asyncio.CancelledError:
            self.close()
            raise

    def _take(self) -> bytes:
        data = self._reader.take()
        if not self._reader.complete:
            self._channel.resume_reading()
        return data

    async def _read_decoded(self) -> bytes:
        reader = self._reader
        try:
            if self._decoder is None:
                self._decoder = decoder_for(reader.content_encodings, self.decoded_bytes_max)
            while True:
                while not reader.body:
                    if reader.complete:
                        self._decoder.finish()
                        return b""
                    await self._progress()
                if decoded := self._decoder.decode(self._take()):
                    return decoded
        except (ProtocolBroken, BodyTooLarge):
            self.close()
            raise
