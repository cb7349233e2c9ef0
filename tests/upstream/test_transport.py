"""The pool under httpx: its requests, streams, time-outs and exception names."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.upstream.pool import Pool
from gateway.upstream.transport import PoolTransport
from tests.upstream.conftest import Run
from tests.upstream.peer import OK, Conversation, Script, always, listening, once

HEAD = b"HTTP/1.1 200 OK\r\n"
SHORT_S = 0.05


def client(**options: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=PoolTransport(), **options)  # type: ignore[arg-type]


def test_a_client_over_the_pool(run: Run) -> None:
    seen: list[bytes] = []

    async def script(talk: Conversation) -> None:
        while True:
            seen.append(await talk.request())
            talk.say(HEAD + b"content-type: application/json\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 2\r\n\r\n{}")

    async def story() -> None:
        async with listening(script) as peer, client() as http:
            response = await http.post(f"{peer.origin}/v1/x?a=b", json={"a": 1})
            assert (response.status_code, response.json(), response.http_version) == (200, {}, "HTTP/1.1")
            assert response.headers.get_list("x-a") == ["1", "2"]
            await http.get(f"{peer.origin}/")
            assert peer.connections == 1
        post = seen[0].split(b"\r\n")
        assert post[0] == b"POST /v1/x?a=b HTTP/1.1"
        assert b"accept-encoding: identity" in post
        assert b"content-length: 7" in post
        assert seen[0].endswith(b'\r\n\r\n{"a":1}')
        assert b"content-length" not in seen[1]

    run(story())


def test_a_streamed_request_and_a_streamed_response(run: Run) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def script(talk: Conversation) -> None:
        request = await talk.request()
        assert b"transfer-encoding" not in request.lower()
        assert request.endswith(b"onetwo")
        talk.say(HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await go.wait()
        talk.say(b"3\r\ntwo\r\n0\r\n\r\n")
        await talk.hung_up()

    go = asyncio.Event()

    async def story() -> None:
        async with listening(script) as peer, client() as http:
            async with http.stream("POST", str(peer.origin), content=body()) as response:
                chunks = response.aiter_raw()
                assert await anext(chunks) == b"one"
                go.set()
                assert [chunk async for chunk in chunks] == [b"two"]

    run(story())


def test_leaving_a_stream_drops_its_connection(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(HEAD + b"content-length: 9\r\n\r\nhello")
        await talk.hung_up()
        gone.set()

    gone = asyncio.Event()

    async def story() -> None:
        pool = Pool()
        async with listening(script) as peer, httpx.AsyncClient(transport=PoolTransport(pool)) as http:
            async with http.stream("GET", str(peer.origin)):
                assert str(pool.stats()[peer.origin]) == "1 active, 0 idle"
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"
            await gone.wait()

    run(story())


def test_an_encoded_body_is_decoded_once(run: Run) -> None:
    data = gzip.compress(b"hello")
    answer = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)

    async def story() -> None:
        async with listening(always(answer)) as peer, client() as http:
            response = await http.get(str(peer.origin))
            assert response.text == "hello"
            assert "content-encoding" not in response.headers

    run(story())


async def silent(talk: Conversation) -> None:
    await talk.request()
    await talk.hung_up()


async def starts(talk: Conversation) -> None:
    await talk.request()
    talk.say(HEAD + b"content-length: 9\r\n\r\nhello")
    await talk.hung_up()


async def reads_nothing(talk: Conversation) -> None:
    talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(5)


FAULTS: dict[str, tuple[Script, type[httpx.RequestError]]] = {
    "no answer in time": (silent, httpx.ReadTimeout),
    "an answer that stops": (starts, httpx.ReadTimeout),
    "a request that is not taken": (reads_nothing, httpx.WriteTimeout),
    "no answer": (once(b""), httpx.ReadError),
    "half an answer": (once(HEAD + b"content-length: 9\r\n\r\nhello"), httpx.RemoteProtocolError),
    "no HTTP": (once(b"hello\r\n\r\n"), httpx.RemoteProtocolError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_have_the_names_of_httpx(run: Run, name: str) -> None:
    script, error = FAULTS[name]

    async def story() -> None:
        async with listening(script) as peer, client(timeout=httpx.Timeout(5, read=SHORT_S, write=SHORT_S)) as http:
            body = bytes(50_000_000) if error is httpx.WriteTimeout else b"{}"
            with pytest.raises(error) as caught:
                await http.post(str(peer.origin), content=body)
            assert str(caught.value.request.url.host) == "127.0.0.1"
            assert "127.0.0.1" not in str(caught.value)

    run(story())


def test_connecting_has_the_names_of_httpx(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with client(timeout=httpx.Timeout(5, connect=SHORT_S)) as http:
                with pytest.raises(httpx.ConnectTimeout):
                    await http.get(url)
        async with client() as http:
            with pytest.raises(httpx.ConnectError, match="refused"):
                await http.get(url)

    run(story())


def test_a_full_pool_has_the_name_of_httpx(run: Run) -> None:
    async def story() -> None:
        transport = PoolTransport(Pool(connections_max=1))
        timeout = httpx.Timeout(5, pool=SHORT_S)
        async with listening(starts) as peer, httpx.AsyncClient(transport=transport, timeout=timeout) as http:
            async with http.stream("GET", str(peer.origin)):
                with pytest.raises(httpx.PoolTimeout):
                    await http.get(str(peer.origin))

    run(story())


def test_what_cannot_be_sent_has_the_names_of_httpx(run: Run) -> None:
    async def story() -> None:
        async with client() as http:
            with pytest.raises(httpx.LocalProtocolError, match="control character"):
                await http.get("http://127.0.0.1:1/", headers={"x": "a\r\nb: c"})
            with pytest.raises(httpx.UnsupportedProtocol):
                await http.get("ftp://127.0.0.1/")

    run(story())


def test_called_directly_as_on_the_hot_path(run: Run) -> None:
    async def story() -> None:
        transport = PoolTransport()
        async with listening(always(OK)) as peer, transport:
            request = httpx.Request("POST", f"{peer.origin}/v1", content=b"{}")
            response = await transport.handle_async_request(request)
            assert await response.aread() == b"ok"
            assert str(transport.pool.stats()[peer.origin]) == "0 active, 1 idle"

    run(story())


def test_time_outs_that_are_lifted(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as peer, client(timeout=None) as http:
            assert (await http.get(str(peer.origin))).text == "ok"

    run(story())
