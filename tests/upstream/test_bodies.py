"""Responses over real sockets: every way in which a body may be framed, come in pieces, or fail to."""

import asyncio
import gzip
import zlib

import pytest

from gateway.upstream.channel import UNREAD_BYTES_MAX
from gateway.upstream.faults import BodyTooLarge, ConnectionReset, ProtocolBroken, ResponseTruncated, UpstreamFault
from gateway.upstream.origin import Origin
from gateway.upstream.pool import Pool
from gateway.upstream.response import Response
from tests.upstream.conftest import Run
from tests.upstream.peer import OK, PATIENT, Conversation, always, get, in_state, listening, once, pooled, post

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
LIMIT = 1 << 20

BODIES = {
    "content-length": (HEAD + b"content-length: 5\r\n\r\nhello", b"hello", "0 active, 1 idle"),
    "chunked": (CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello", "0 active, 1 idle"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", "0 active, 1 idle"),
    "early hints first": (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok", "0 active, 1 idle"),
    "connection: close": (HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nok", b"ok", "0 active, 0 idle"),
    "until the end": (HEAD + b"\r\nhello", b"hello", "0 active, 0 idle"),
    "garbage after it": (OK + b"garbage", b"ok", "0 active, 0 idle"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_read_and_its_connection_kept_or_not(run: Run, name: str) -> None:
    answer, body, state = BODIES[name]

    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(answer)
        if name != "until the end":
            await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            assert await response.read(LIMIT) == body
            assert str(pool.stats()[peer.origin]) == state

    run(story())


def test_a_response_in_single_bytes(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.request()
        for byte in CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n":
            talk.say(bytes([byte]))
            await talk.writer.drain()
            await asyncio.sleep(0)
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            assert response.status == 200
            assert response.headers == [(b"transfer-encoding", b"chunked")]
            assert await response.read(LIMIT) == b"hello"

    run(story())


def test_head_gets_no_body(run: Run) -> None:
    async def story() -> None:
        async with listening(always(HEAD + b"content-length: 5\r\n\r\n")) as peer, pooled() as pool:
            for _ in range(2):
                response = await pool.send(peer.origin, b"HEAD", b"/", (), b"", PATIENT)
                assert (response.status, await response.read(LIMIT)) == (200, b"")
            assert peer.connections == 1

    run(story())


def test_the_request_arrives_as_framed(run: Run) -> None:
    seen: list[bytes] = []

    async def script(talk: Conversation) -> None:
        seen.append(await talk.request())
        talk.say(OK)

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            headers = [(b"content-type", b"application/json")]
            response = await pool.send(peer.origin, b"POST", b"/v1/x", headers, b"{}", PATIENT)
            assert await response.read(LIMIT) == b"ok"
            assert seen[0] == (
                b"POST /v1/x HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n"
                b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}" % peer.origin.authority
            )

    run(story())


def test_what_cannot_be_framed_opens_no_connection(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as peer, pooled() as pool:
            with pytest.raises(ValueError, match="control character"):
                await pool.send(peer.origin, b"GET", b"/", [(b"x", b"a\r\nb: c")], b"", PATIENT)
            assert peer.connections == 0

    run(story())


def test_chunks_are_handed_out_as_they_come(run: Run) -> None:
    taken = asyncio.Semaphore(0)

    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(CHUNKED)
        for event in (b"one", b"two"):
            talk.say(b"3\r\n%b\r\n" % event)
            await taken.acquire()
        talk.say(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            for event in (b"one", b"two"):
                assert await response.read_chunk() == event
                taken.release()
            assert await response.read_chunk() == b"ab"
            assert await response.read_chunk() == b""
            assert await response.read_chunk() == b""
            assert str(pool.stats()[peer.origin]) == "0 active, 1 idle"

    run(story())


async def read_into(got: bytearray, pool: Pool, origin: Origin) -> None:
    response = await get(pool, origin)
    while chunk := await response.read_chunk():
        got += chunk


CUT = {
    "no answer at all": (b"", ConnectionReset, b""),
    "half a head": (b"HTTP/1.1 200 OK\r\nx", ConnectionReset, b""),
    "a length too long": (HEAD + b"content-length: 9\r\n\r\nhello", ResponseTruncated, b"hello"),
    "chunks without an end": (CHUNKED + b"5\r\nhello\r\n", ResponseTruncated, b"hello"),
    "two lengths": (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", ProtocolBroken, b""),
    "a bad chunk": (CHUNKED + b"2\r\nab\r\nzz\r\n", ProtocolBroken, b"ab"),
    "oversized headers": (HEAD + b"x: y\r\n" * 300 + b"\r\n", ProtocolBroken, b""),
    "endless headers": (HEAD + b"x: " + b"y" * 300_000, ProtocolBroken, b""),
}


@pytest.mark.parametrize("name", CUT)
def test_a_fault_comes_after_what_came_before_it(run: Run, name: str) -> None:
    answer, fault, body = CUT[name]

    async def story() -> None:
        async with listening(once(answer)) as peer, pooled() as pool:
            got = bytearray()
            with pytest.raises(fault):
                await read_into(got, pool, peer.origin)
            assert got == body
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_a_reset_inside_a_body_of_no_length_is_no_end(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(HEAD + b"\r\nhello")
        await go.wait()
        talk.reset()

    go = asyncio.Event()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            assert await response.read_chunk() == b"hello"
            go.set()
            with pytest.raises(ResponseTruncated):
                await response.read_chunk()

    run(story())


def test_more_body_than_allowed_drops_the_connection(run: Run) -> None:
    async def story() -> None:
        async with listening(always(HEAD + b"content-length: 6\r\n\r\nhello!")) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            assert await response.read(6) == b"hello!"
            with pytest.raises(BodyTooLarge):
                await (await get(pool, peer.origin)).read(5)

    run(story())


def test_an_endless_body_is_given_up_at_the_limit(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(HEAD + b"\r\n")
        while True:
            talk.say(bytes(50_000))
            await talk.writer.drain()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            with pytest.raises(BodyTooLarge):
                await response.read(1_000_000)
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_a_body_nobody_reads_makes_the_peer_wait(run: Run) -> None:
    piece, pieces = bytes(100_000), 640
    sent = 0
    stuck = asyncio.Event()

    async def script(talk: Conversation) -> None:
        nonlocal sent
        await talk.request()
        talk.say(HEAD + b"content-length: %d\r\n\r\n" % (len(piece) * pieces))
        for _ in range(pieces):
            talk.say(piece)
            sent += 1
            waiting = asyncio.get_running_loop().call_later(0.1, stuck.set)
            await talk.writer.drain()
            waiting.cancel()
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            await stuck.wait()
            assert sent < pieces / 2
            first = await response.read_chunk()
            assert len(first) < 4 * UNREAD_BYTES_MAX
            rest = await response.read(len(piece) * pieces)
            assert len(first) + len(rest) == len(piece) * pieces

    run(story())


ENCODED = {
    "gzip": (b"gzip", gzip.compress(b"hello" * 1000)),
    "deflate": (b"deflate", zlib.compress(b"hello" * 1000)),
    "identity": (b"identity", b"hello" * 1000),
}


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoded_body_is_decoded(run: Run, name: str) -> None:
    encoding, data = ENCODED[name]
    answer = HEAD + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (encoding, len(data), data)

    async def story() -> None:
        async with listening(always(answer)) as peer, pooled() as pool:
            assert await (await get(pool, peer.origin)).read(LIMIT) == b"hello" * 1000
            response = await get(pool, peer.origin)
            assert await response.read_chunk() == b"hello" * 1000
            assert await response.read_chunk() == b""
            assert peer.connections == 1

    run(story())


async def read_to_end(response: Response) -> None:
    while await response.read_chunk():
        pass


BAD_ENCODINGS: dict[str, tuple[bytes, bytes, type[UpstreamFault]]] = {
    "a bomb": (b"gzip", gzip.compress(bytes(20_000_000)), BodyTooLarge),
    "cut short": (b"gzip", gzip.compress(b"hello" * 1000)[:-4], ProtocolBroken),
    "not what it says": (b"gzip", b"hello", ProtocolBroken),
    "unknown": (b"br", b"hello", ProtocolBroken),
}


@pytest.mark.parametrize("name", BAD_ENCODINGS)
def test_an_encoding_is_not_trusted(run: Run, name: str) -> None:
    encoding, data, fault = BAD_ENCODINGS[name]
    answer = HEAD + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (encoding, len(data), data)

    async def story() -> None:
        async with listening(always(answer)) as peer, pooled() as pool:
            with pytest.raises(fault):
                await (await get(pool, peer.origin)).read(LIMIT)
            response = await get(pool, peer.origin)
            response.decoded_bytes_max = LIMIT
            with pytest.raises(fault):
                await read_to_end(response)

    run(story())


def test_an_answer_that_comes_before_the_request_is_taken_is_kept_but_not_its_connection(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        talk.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await post(pool, peer.origin, bytes(50_000_000))
            assert (response.status, await response.read(LIMIT)) == (413, b"no")
            await in_state(pool, peer.origin, "0 active, 0 idle")

    run(story())
