"""Connections kept and shared: reuse, limits, the queue, staleness, addresses, closing."""

import asyncio
from pathlib import Path

import pytest

from gateway.upstream.faults import ConnectFailed, ConnectionReset, ResponseTruncated
from gateway.upstream.origin import Origin
from tests.upstream.conftest import Run
from tests.upstream.peer import (
    OK,
    PATIENT,
    Conversation,
    Script,
    ThreadedPeer,
    always,
    get,
    in_state,
    listening,
    once,
    pooled,
    post,
)

LIMIT = 1 << 20


def test_one_connection_carries_many_requests(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as peer, pooled() as pool:
            for _ in range(5):
                assert await (await get(pool, peer.origin)).read(LIMIT) == b"ok"
            assert peer.connections == 1
            assert repr(pool) == f"<Pool: {peer.origin} 0 active, 1 idle>"

    run(story())


def test_an_answer_need_not_be_read_for_its_connection_to_be_free(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as peer, pooled() as pool:
            first = await get(pool, peer.origin)
            second = await get(pool, peer.origin)
            assert peer.connections == 1
            assert await second.read(LIMIT) == await first.read(LIMIT) == b"ok"

    run(story())


def test_origins_share_nothing(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as one, listening(always(OK)) as other, pooled() as pool:
            await get(pool, one.origin)
            await get(pool, other.origin)
            assert (one.connections, other.connections) == (1, 1)
            assert [str(stats) for stats in pool.stats().values()] == ["0 active, 1 idle"] * 2

    run(story())


def test_the_connection_freed_last_is_used_first(run: Run) -> None:
    used: list[Conversation] = []

    async def script(talk: Conversation) -> None:
        await talk.request()
        await both_open.wait()
        talk.say(OK)
        while True:
            await talk.request()
            used.append(talk)
            talk.say(OK)

    both_open = asyncio.Barrier(2)

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            await asyncio.gather(get(pool, peer.origin), get(pool, peer.origin))
            for _ in range(3):
                await get(pool, peer.origin)
            assert len(used) == 3
            assert len(set(used)) == 1
            assert str(pool.stats()[peer.origin]) == "0 active, 2 idle"

    run(story())


def test_a_connection_closed_while_idle_is_forgotten_at_once(run: Run) -> None:
    async def story() -> None:
        async with listening(once(OK)) as peer, pooled() as pool:
            await get(pool, peer.origin)
            await in_state(pool, peer.origin, "0 active, 0 idle")

    run(story())


def test_a_connection_that_speaks_unasked_is_dropped(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(OK)
        await speak.wait()
        talk.say(OK)
        await talk.hung_up()

    speak = asyncio.Event()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            await get(pool, peer.origin)
            assert str(pool.stats()[peer.origin]) == "0 active, 1 idle"
            speak.set()
            await in_state(pool, peer.origin, "0 active, 0 idle")

    run(story())


def test_a_close_that_the_loop_has_not_seen_yet_is_seen_before_writing(run: Run) -> None:
    """The peer, in a thread of its own, closes while this thread does not turn its loop."""

    async def story() -> None:
        async with pooled() as pool:
            with ThreadedPeer() as peer:
                assert await (await get(pool, peer.origin)).read(LIMIT) == b"ok"
                assert str(pool.stats()[peer.origin]) == "0 active, 1 idle"
                peer.close_first_connection()
                assert await (await post(pool, peer.origin, b"{}")).read(LIMIT) == b"ok"
                assert peer.requests == 2

    run(story())


def test_a_request_met_by_a_stale_connection_before_it_was_all_sent_is_sent_again_once(run: Run) -> None:
    body = bytes(30_000_000)
    whole: list[bytes] = []

    async def script(talk: Conversation) -> None:
        first = await talk.request()
        if not first.startswith(b"GET"):
            whole.append(first)
        talk.say(OK)
        if first.startswith(b"GET"):
            await talk.reader.readuntil(b"\r\n\r\n")  # the head of the second request, then nothing more
            talk.reset()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            await get(pool, peer.origin)
            response = await post(pool, peer.origin, body)
            assert await response.read(LIMIT) == b"ok"
            assert peer.connections == 2
            assert [request.endswith(body) for request in whole] == [True]

    run(story())


def test_a_request_that_was_all_sent_is_not_sent_again(run: Run) -> None:
    requests = 0

    async def script(talk: Conversation) -> None:
        nonlocal requests
        await talk.request()
        talk.say(OK)
        await talk.request()
        requests += 1

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            await get(pool, peer.origin)
            with pytest.raises(ConnectionReset) as caught:
                await post(pool, peer.origin, b"{}")
            assert caught.value.written
            assert (requests, peer.connections) == (1, 1)
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_a_new_connection_that_breaks_is_not_tried_again(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        talk.reset()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            with pytest.raises(ConnectionReset) as caught:
                await post(pool, peer.origin, bytes(30_000_000))
            assert not caught.value.written
            assert peer.connections == 1

    run(story())


def test_an_unused_connection_expires(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as peer, pooled(idle_s=0.05) as pool:
            await get(pool, peer.origin)
            assert str(pool.stats()[peer.origin]) == "0 active, 1 idle"
            await in_state(pool, peer.origin, "0 active, 0 idle")

    run(story())


def test_the_limit_holds_and_the_queue_is_in_order(run: Run) -> None:
    open_at_once = 0
    peak = 0
    order: list[bytes] = []

    async def script(talk: Conversation) -> None:
        nonlocal open_at_once, peak
        while True:
            order.append((await talk.request()).split(b" ")[1])
            open_at_once += 1
            peak = max(peak, open_at_once)
            await asyncio.sleep(0)
            open_at_once -= 1
            talk.say(OK)

    async def story() -> None:
        async with listening(script) as peer, pooled(connections_max=2) as pool:

            async def one(number: int) -> None:
                response = await pool.send(peer.origin, b"GET", b"/%d" % number, (), b"", PATIENT)
                assert await response.read(LIMIT) == b"ok"

            tasks = [asyncio.create_task(one(number)) for number in range(20)]
            await asyncio.sleep(0)
            assert str(pool.stats()[peer.origin]) == "2 active, 0 idle, 18 waiting"
            await asyncio.gather(*tasks)
            numbers = [int(target[1:]) for target in order]
            # Two connections work side by side, so neighbours may be seen in either order.
            assert all(abs(number - place) <= 1 for place, number in enumerate(numbers))
            assert (peak, peer.connections) == (2, 2)
            assert str(pool.stats()[peer.origin]) == "0 active, 2 idle"

    run(story())


def test_a_slot_that_is_freed_goes_to_who_waits(run: Run) -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"

    async def story() -> None:
        async with listening(once(answer)) as peer, pooled(connections_max=1) as pool:
            responses = await asyncio.gather(*(get(pool, peer.origin) for _ in range(10)))
            assert [await response.read(LIMIT) for response in responses] == [b"ok"] * 10
            assert peer.connections == 10
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_the_slots_of_failed_connections_come_back(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK)) as peer:
            origin = peer.origin
        async with pooled(connections_max=2) as pool:
            results = await asyncio.gather(*(get(pool, origin) for _ in range(10)), return_exceptions=True)
            assert {str(result) for result in results} == {"the connection was refused"}
            assert str(pool.stats()[origin]) == "0 active, 0 idle"

    run(story())


def test_leaving_a_stream_early_drops_its_connection_at_once(run: Run) -> None:
    left = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await talk.hung_up()
        left.set()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            assert await response.read_chunk() == b"one"
            response.close()
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"
            await left.wait()
            await response.aclose()
            with pytest.raises(ResponseTruncated):
                await response.read_chunk()

    run(story())


def test_closing_a_response_that_is_over_harms_nobody(run: Run) -> None:
    async def story() -> None:
        async with listening(_answer_second_request_later()) as peer, pooled() as pool:
            first = await get(pool, peer.origin)
            second = asyncio.create_task(get(pool, peer.origin))
            await in_state(pool, peer.origin, "1 active, 0 idle")
            first.close()
            assert await (await second).read(LIMIT) == b"ok"
            assert peer.connections == 1

    run(story())


def _answer_second_request_later() -> Script:
    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(OK)
        await talk.request()
        await asyncio.sleep(0.02)
        talk.say(OK)
        await talk.hung_up()

    return script


def test_unknown_names_and_sockets_are_told_without_their_address(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with pooled() as pool:
            for origin in (
                Origin("http", "no-such-host.invalid", 80),
                Origin("http", "a" * 70, 80),
                Origin("http+unix", "localhost", 0, str(tmp_path / "none.sock")),
            ):
                with pytest.raises(
                    ConnectFailed, match=r"^the host (name )?could not be (resolved|reached)$"
                ) as caught:
                    await pool.send_raw(origin, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET", PATIENT)
                assert not caught.value.certificate

    run(story())


def test_ipv6(run: Run) -> None:
    async def story() -> None:
        async with listening(always(OK), host="::1") as peer, pooled() as pool:
            assert await (await get(pool, peer.origin)).read(LIMIT) == b"ok"

    run(story())


def test_unix_sockets(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with listening(always(OK), socket_path=str(tmp_path / "Peer.sock")) as peer, pooled() as pool:
            for _ in range(2):
                assert await (await get(pool, peer.origin)).read(LIMIT) == b"ok"
            assert peer.connections == 1

    run(story())


def test_closing_the_pool_ends_what_runs_and_what_waits(run: Run) -> None:
    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello")
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled(connections_max=1) as pool:
            response = await get(pool, peer.origin)
            waiting = asyncio.create_task(get(pool, peer.origin))
            await in_state(pool, peer.origin, "1 active, 0 idle, 1 waiting")
            await pool.aclose()
            with pytest.raises(ConnectFailed, match="closed"):
                await waiting
            assert await response.read_chunk() == b"hello"
            with pytest.raises(ResponseTruncated):
                await response.read_chunk()
            with pytest.raises(ConnectFailed, match="closed"):
                await get(pool, peer.origin)
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"
            await pool.aclose()

    run(story())
