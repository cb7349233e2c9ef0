"""Base URLs, taken apart."""

import pytest

from gateway.upstream.origin import Origin, parse_base_url


@pytest.mark.parametrize(
    ("url", "origin", "path", "authority"),
    [
        ("https://api.example.com/v1/", Origin("https", "api.example.com", 443), "/v1", b"api.example.com"),
        ("http://Example.com:8080", Origin("http", "example.com", 8080), "", b"example.com:8080"),
        ("http://[::1]:9000/openai", Origin("http", "::1", 9000), "/openai", b"[::1]:9000"),
        ("https://[2001:db8::1]", Origin("https", "2001:db8::1", 443), "", b"[2001:db8::1]"),
        ("https://bücher.example", Origin("https", "bücher.example", 443), "", b"xn--bcher-kva.example"),
        ("http+unix://%2FTmp%2Fa.sock/v1", Origin("http+unix", "localhost", 0, "/Tmp/a.sock"), "/v1", b"localhost"),
    ],
)
def test_a_base_url_is_an_origin_and_a_path(url: str, origin: Origin, path: str, authority: bytes) -> None:
    assert parse_base_url(url) == (origin, path)
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "api.example.com/v1",
        "https://",
        "https:///v1",
        "https://user:secret@example.com",
        "https://example.com/v1?key=1",
        "https://example.com/#x",
        "http://example.com:99999",
        "http://exa mple.com",
        "http://exa\nmple.com",
        "http://a..example",
        "http+unix://relative.sock/v1",
        "",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_base_url(url)
