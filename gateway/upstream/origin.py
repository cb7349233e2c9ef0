"""Where a request goes: the origin of a base URL.

Three schemes: `http://host[:port]`, `https://host[:port]` and `http+unix://<percent-encoded path of a
socket>`, for example `http+unix://%2Frun%2Fvllm.sock/v1`. User info, queries and fragments are refused.
"""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Connections are shared by equal origins, and by no others.

    `host` is a name or address without brackets; `socket_path` is set for `http+unix` only, where
    `host` is "localhost" and `port` is 0.
    """

    scheme: str
    host: str
    port: int
    socket_path: str = ""

    @property
    def authority(self) -> bytes:
        """The value of the Host header: brackets around IPv6, the scheme's own port left out."""
        host = b"[%b]" % self.host.encode() if ":" in self.host else self.host.encode("idna")
        if self.socket_path or self.port == DEFAULT_PORTS.get(self.scheme):
            return host
        return b"%b:%d" % (host, self.port)

    def __str__(self) -> str:
        return f"unix:{self.socket_path}" if self.socket_path else f"{self.scheme}://{self.authority.decode()}"


def parse_base_url(url: str) -> tuple[Origin, str]:
    """The origin of a base URL and its path, without a slash at the end ("" or "/v1").

    Raises ValueError, with a sentence that names what is wrong, for anything that is not one.
    """
    if any(character <= " " for character in url):
        raise ValueError("a base URL has no spaces or control characters")
    parts = urlsplit(url)
    if "?" in url or "#" in url or parts.username is not None or parts.password is not None:
        raise ValueError("a base URL has no user, query or fragment")
    path = parts.path.rstrip("/")
    if parts.scheme == "http+unix":
        socket_path = unquote(parts.netloc)
        if not socket_path.startswith("/") or "\0" in socket_path:
            raise ValueError("http+unix:// is followed by the percent-encoded absolute path of a socket")
        return Origin("http+unix", "localhost", 0, socket_path), path
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("a base URL begins with http://, https:// or http+unix://")
    if not parts.hostname:
        raise ValueError("a base URL names a host")
    origin = Origin(parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme])
    try:
        _ = origin.authority
    except UnicodeError as error:
        raise ValueError("the host of a base URL is not a valid name") from error
    return origin, path
