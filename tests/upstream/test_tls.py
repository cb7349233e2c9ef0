"""TLS: certificates and names are verified, and the name is told to the server."""

import asyncio
import ssl
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.upstream.faults import ConnectFailed, ConnectTimedOut
from gateway.upstream.origin import Origin
from tests.upstream.conftest import Run
from tests.upstream.peer import OK, PATIENT, Conversation, Peer, always, get, listening, pooled, post

LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own, and a certificate it has given to "localhost"."""

    ca: Path
    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "names.cnf").write_text("subjectAltName=DNS:localhost,IP:::1\n")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA", "-days", "2")
    openssl("req", *curve, "-keyout", "peer.key", "-out", "peer.csr", "-subj", "/CN=localhost")
    openssl(
        *("x509", "-req", "-in", "peer.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-out", "peer.pem", "-days", "2", "-extfile", "names.cnf"),
    )
    return Authority(folder / "ca.pem", folder / "peer.pem", folder / "peer.key")


def as_localhost(peer: Peer) -> Origin:
    return replace(peer.origin, host="localhost")


def test_a_trusted_certificate_for_the_right_name(run: Run, authority: Authority) -> None:
    names: list[str | None] = []
    server = authority.server()
    server.sni_callback = lambda _socket, name, _context: names.append(name)

    async def story() -> None:
        async with listening(always(OK), tls=server) as peer, pooled(ssl_context=authority.client()) as pool:
            for _ in range(3):
                assert await (await get(pool, as_localhost(peer))).read(LIMIT) == b"ok"
            assert names == ["localhost"]
            assert peer.connections == 1
            assert str(pool.stats()[as_localhost(peer)]) == "0 active, 1 idle"

    run(story())


def test_an_address_that_the_certificate_names(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            listening(always(OK), host="::1", tls=authority.server()) as peer,
            pooled(ssl_context=authority.client()) as pool,
        ):
            assert await (await get(pool, peer.origin)).read(LIMIT) == b"ok"

    run(story())


def test_the_wrong_name_is_refused(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            listening(always(OK), tls=authority.server()) as peer,
            pooled(ssl_context=authority.client()) as pool,
        ):
            with pytest.raises(ConnectFailed, match="certificate") as caught:
                await get(pool, peer.origin)  # 127.0.0.1
            assert caught.value.certificate
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_an_unknown_authority_is_refused_by_default(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with listening(always(OK), tls=authority.server()) as peer, pooled() as pool:
            with pytest.raises(ConnectFailed, match="certificate") as caught:
                await get(pool, as_localhost(peer))
            assert caught.value.certificate

    run(story())


def test_the_environment_may_name_the_authorities(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))

    async def story() -> None:
        async with listening(always(OK), tls=authority.server()) as peer, pooled() as pool:
            assert await (await get(pool, as_localhost(peer))).read(LIMIT) == b"ok"

    run(story())


def test_a_peer_that_speaks_no_tls(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async def plain(talk: Conversation) -> None:
            talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with listening(plain) as peer, pooled(ssl_context=authority.client()) as pool:
            with pytest.raises(ConnectFailed, match="TLS handshake") as caught:
                await get(pool, replace(peer.origin, scheme="https"))
            assert not caught.value.certificate

    run(story())


def test_a_handshake_that_never_ends(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async def silent(talk: Conversation) -> None:
            await talk.hung_up()

        async with listening(silent) as peer, pooled(ssl_context=authority.client()) as pool:
            origin = replace(peer.origin, scheme="https")
            with pytest.raises(ConnectTimedOut):
                await get(pool, origin, replace(PATIENT, connect_s=0.05))
            assert str(pool.stats()[origin]) == "0 active, 0 idle"

    run(story())


def test_large_bodies_both_ways_and_a_body_that_ends_with_the_connection(run: Run, authority: Authority) -> None:
    async def echoes(talk: Conversation) -> None:
        _, _, body = (await talk.request()).partition(b"\r\n\r\n")
        talk.say(b"HTTP/1.1 200 OK\r\n\r\n")
        talk.say(body)

    async def story() -> None:
        async with listening(echoes, tls=authority.server()) as peer, pooled(ssl_context=authority.client()) as pool:
            body = bytes(range(256)) * 20_000
            response = await post(pool, as_localhost(peer), body)
            assert await response.read(len(body)) == body

    run(story())


def test_leaving_early_reaches_the_peer(run: Run, authority: Authority) -> None:
    async def starts(talk: Conversation) -> None:
        await talk.request()
        talk.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await talk.hung_up()
        gone.set()

    gone = asyncio.Event()

    async def story() -> None:
        async with listening(starts, tls=authority.server()) as peer, pooled(ssl_context=authority.client()) as pool:
            response = await get(pool, as_localhost(peer))
            assert await response.read_chunk() == b"one"
            response.close()
            assert str(pool.stats()[as_localhost(peer)]) == "0 active, 0 idle"
            await gone.wait()

    run(story())
