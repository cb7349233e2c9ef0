"""Everything that the environment may set, each setting with its name, meaning, default and parser.

The only module that knows the names of `GATEWAY_` variables. Reading, `--help` and the README's table all come
from the fields below. What is offered, and where requests go, is the mapping table's business.
"""

# ruff: noqa: RUF009  (`_setting` is `dataclasses.field` with a name, a meaning and a parser)

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.config.environment import VariableFault, read_variable
from gateway.suggest import did_you_mean

Parser = Callable[[str], Any]
"""Text to value. Raises ValueError with what was expected, without the text itself where that is a secret."""

ADMIN_KEY_CHARS_MIN: Final = 16
DRAIN_S_MAX: Final = 3600.0
WORKERS_MAX: Final = 256

_PREFIX = "GATEWAY_"
_SERVICE_LINK = re.compile(r"GATEWAY_(SERVICE_|PORT_\d)")
"""What Kubernetes puts into every pod beside a Service named `gateway`: not meant for us, and no misspelling."""


_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")


class SettingsFaults(Exception):
    """Every fault of the environment at once, each a sentence that names the variable."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def _text(value: str) -> str:
    return value


def _integer(low: int, high: int) -> Parser:
    def parse(value: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", value) and low <= int(value) <= high:
            return int(value)
        raise ValueError(f"{value!r} is not an integer from {low} to {high}")

    return parse


def _port(value: str) -> int:
    if value.startswith("tcp://"):
        raise ValueError(
            f"{value!r} is not a port. Kubernetes sets this for a Service named 'gateway': set "
            "enableServiceLinks: false in the pod, or name the Service otherwise"
        )
    parsed: int = _integer(0, 65535)(value)
    return parsed


def _seconds(high: float) -> Parser:
    def parse(value: str) -> float:
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value) and float(value) <= high:
            return float(value)
        raise ValueError(f"{value!r} is not a number of seconds from 0 to {high:g}")

    return parse


def _choice(*names: str) -> Parser:
    def parse(value: str) -> str:
        if value.lower() in names:
            return value.lower()
        raise ValueError(f"{value!r} is not one of {', '.join(names)}.{did_you_mean(value, names)}")

    return parse


def _boolean(value: str) -> bool:
    truth = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if value.lower() not in truth:
        raise ValueError(f"{value!r} is neither true nor false")
    return truth[value.lower()]


def _redis_url(value: str) -> str:
    # The value may hold a password, so no message repeats it.
    expected = "expected redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/redis.sock"
    try:
        parts = urlsplit(value)
        nodes = [urlsplit(f"//{node}") for node in parts.netloc.rpartition("@")[2].split(",")]
        hosts = [node.hostname or "" for node in nodes]
        _ = [node.port for node in nodes]
        places = {"redis": hosts, "rediss": hosts, "unix": [parts.path]}.get(parts.scheme, [""])
    except ValueError:
        raise ValueError(f"not a URL of a Redis server, {expected}") from None
    if not all(places):
        raise ValueError(f"not a URL of a Redis server, {expected}")
    return value


def _admin_key(value: str) -> str:
    if len(value) < ADMIN_KEY_CHARS_MIN or not re.fullmatch(r"[!-~]+", value):
        raise ValueError(
            f"expected at least {ADMIN_KEY_CHARS_MIN} characters of printable ASCII without blanks, for example "
            "from: openssl rand -hex 24"
        )
    return value


def _redis_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", value):
        raise ValueError(f"{value!r} is not 1 to 32 of the characters A-Z a-z 0-9 . _ -")
    return value


def _origins(value: str) -> tuple[str, ...]:
    if value.lower() == "none":
        return ()
    origins = tuple(part.strip() for part in value.split(",") if part.strip())
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin such as https://app.example.com, * or none")
    return origins


def _web_url(*, credentials: bool = False) -> Parser:
    expected = "expected http://host[:port] or https://host[:port]"

    def parse(value: str) -> str:
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            raise ValueError(f"not a URL, {expected}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"not a URL that can be used here, {expected}")
        if parts.username is not None and not credentials:
            raise ValueError(f"a URL with a user name, {expected}")
        return value.rstrip("/")

    return parse


def _setting(name: str, meaning: str, parse: Parser, default: Any, shown: str, *, secret: bool = False) -> Any:
    """A field of Settings. `shown` is the default in words."""
    metadata = {"name": name, "meaning": meaning, "parse": parse, "shown": shown}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, checked. Seconds end in `_s`; secrets are left out of `repr`."""

    mappings: Path = _setting("GATEWAY_MAPPINGS", "the mapping table", Path, Path("mappings.yaml"), "./mappings.yaml")
    redis_url: str | None = _setting(
        "REDIS_URL",
        "redis://, rediss:// or unix:// of the ledger; in cluster mode of several nodes, redis://one:6379,two:6379; "
        "in sentinel mode redis://sentinel-1:26379,sentinel-2:26379/name-of-the-master",
        _redis_url, None, "unset: the embedded store, SQLite under the state folder", secret=True,
    )  # fmt: skip
    state_dir: Path = _setting(
        "GATEWAY_STATE_DIR", "the usage journal, and the embedded store", Path, Path(".gateway"), "./.gateway"
    )
    admin_key: str | None = _setting(
        "GATEWAY_ADMIN_KEY",
        f"opens the admin API and the console's admin pages; at least {ADMIN_KEY_CHARS_MIN} characters",
        _admin_key, None, "unset: admin is off over HTTP, on for the command line", secret=True,
    )  # fmt: skip
    admin_port: int | None = _setting(
        "GATEWAY_ADMIN_PORT",
        "moves the admin API, its console pages and /metrics to a listener of their own on 127.0.0.1",
        _port, None, "unset: the same listener",
    )  # fmt: skip
    host: str = _setting("GATEWAY_HOST", "the address to listen on, as --host", _text, "127.0.0.1", "127.0.0.1")
    port: int = _setting("GATEWAY_PORT", "the port to listen on, as --port; 0 takes a free one", _port, 8000, "8000")
    workers: int = _setting("GATEWAY_WORKERS", "worker processes, as --workers", _integer(1, WORKERS_MAX), 1, "1")
    log_level: str = _setting(
        "GATEWAY_LOG_LEVEL",
        "debug, info, warning or error",
        _choice("debug", "info", "warning", "error"), "info", "info",
    )  # fmt: skip
    redis_mode: str = _setting(
        "GATEWAY_REDIS_MODE",
        "single, cluster or sentinel",
        _choice("single", "cluster", "sentinel"), "single", "single",
    )  # fmt: skip
    redis_prefix: str = _setting(
        "GATEWAY_REDIS_PREFIX", "what every key on a shared Redis begins with", _redis_prefix, "gw", "gw"
    )
    journal_sync: str = _setting(
        "GATEWAY_JOURNAL_SYNC",
        "when the journal is forced to disk: background (every 50 ms), group, each or off",
        _choice("background", "group", "each", "off"), "background", "background",
    )  # fmt: skip
    keep_journal_h: int = _setting(
        "GATEWAY_KEEP_JOURNAL_HOURS",
        "how long a journal is kept as it was written once the store has it; then it is compressed into archive/",
        _integer(1, 8760), 24, "24",
    )  # fmt: skip
    keep_journal_gib: int = _setting(
        "GATEWAY_KEEP_JOURNAL_GIB",
        "how much of it, in GiB; what is more is compressed when it is an hour old",
        _integer(1, 100_000), 4, "4",
    )  # fmt: skip
    keep_archive_d: int = _setting(
        "GATEWAY_KEEP_ARCHIVE_DAYS",
        "how long archive/ keeps it, for exports, invoices and a Redis that was set back",
        _integer(1, 3650), 35, "35",
    )  # fmt: skip
    keep_hourly_d: int = _setting(
        "GATEWAY_KEEP_HOURLY_DAYS",
        "how long Redis keeps usage by the hour; after that by the day",
        _integer(1, 60), 35, "35",
    )  # fmt: skip
    keep_daily_d: int = _setting(
        "GATEWAY_KEEP_DAILY_DAYS", "how long Redis keeps usage by the day", _integer(62, 3650), 400, "400"
    )
    keep_story_d: int = _setting(
        "GATEWAY_KEEP_STORY_DAYS", "how long Redis keeps the story of each request", _integer(1, 400), 7, "7"
    )
    keep_story_entries: int = _setting(
        "GATEWAY_KEEP_STORY_ENTRIES",
        "how many attempts of a team the stories in Redis tell of; the oldest go first",
        _integer(100, 100_000_000), 100_000, "100000",
    )  # fmt: skip
    public_models: bool = _setting(
        "GATEWAY_PUBLIC_MODELS", "whether the model list is shown without a key", _boolean, True, "true"
    )
    cors_origins: tuple[str, ...] = _setting(
        "GATEWAY_CORS_ORIGINS",
        "origins of browsers that may call, with commas between; * is every one, none is none",
        _origins, ("*",), "* on inference routes",
    )  # fmt: skip
    drain_s: float = _setting(
        "GATEWAY_DRAIN_SECONDS", "how long SIGTERM waits for streams", _seconds(DRAIN_S_MAX), 30.0, "30"
    )
    http_transport: str = _setting(
        "GATEWAY_HTTP_TRANSPORT",
        "own, or httpx (also taken when HTTPS_PROXY is set)",
        _choice("own", "httpx"), "own", "own",
    )  # fmt: skip
    https_proxy: str | None = _setting(
        "HTTPS_PROXY", "a proxy towards the providers", _web_url(credentials=True), None, "unset: no proxy", secret=True
    )
    ssl_cert_file: Path | None = _setting(
        "SSL_CERT_FILE", "certificates that are trusted, PEM", Path, None, "unset: the system's"
    )
    hf_endpoint: str = _setting(
        "HF_ENDPOINT",
        "the Hub that `gateway mappings sync` asks",
        _web_url(), "https://huggingface.co", "https://huggingface.co",
    )  # fmt: skip
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What start-up should say: misspelt variables, and a transport that was chosen by HTTPS_PROXY."""


def _settings() -> Iterator[Field[Any]]:
    return (entry for entry in fields(Settings) if "name" in entry.metadata)


def table() -> Iterator[tuple[str, str, str]]:
    """(variable, meaning, default) of every setting, for `--help`, `.env.example` and the README."""
    for entry in _settings():
        yield entry.metadata["name"], entry.metadata["meaning"], entry.metadata["shown"]


def with_flags(environ: Mapping[str, str], flags: Mapping[str, str | None]) -> dict[str, str]:
    """An environment that says what `flags` say, for processes that read nothing else."""
    made = dict(environ)
    for entry in _settings():
        flag = flags.get(entry.name)
        if flag is not None:
            made[entry.metadata["name"]] = flag
            made.pop(f"{entry.metadata['name']}_FILE", None)
    return made


def from_environ(
    environ: Mapping[str, str],
    flags: Mapping[str, str | None] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from an environment; `flags` (field name to text, None: not given) win over it, and `defaults` (field
    name to value) hold where both are silent.

    An empty variable counts as unset. Raises SettingsFaults with every fault at once.
    """
    values: dict[str, Any] = dict(defaults or {})
    faults: list[str] = []
    for entry in _settings():
        flag = (flags or {}).get(entry.name)
        label = f"--{entry.name.replace('_', '-')}" if flag is not None else entry.metadata["name"]
        try:
            text = flag if flag is not None else _lookup(environ, entry.metadata["name"])
            if text is not None:
                values[entry.name] = entry.metadata["parse"](text)
        except VariableFault as fault:
            faults.append(str(fault))
        except ValueError as error:
            faults.append(f"{label}: {error}")
    if faults:
        raise SettingsFaults(faults)
    warnings = [*_unknown(environ)]
    if values.get("https_proxy"):
        # Our own transport speaks to no proxy; whoever insists on it has said so by name.
        if values.setdefault("http_transport", "httpx") == "httpx":
            warnings.append("HTTPS_PROXY is set: providers are reached through httpx, not our own transport")
        else:
            warnings.append("HTTPS_PROXY is set but not used, since GATEWAY_HTTP_TRANSPORT is 'own'")
    return Settings(**values, warnings=tuple(warnings))


def _lookup(environ: Mapping[str, str], name: str) -> str | None:
    value = read_variable(environ, name)
    if value is None and name == "HTTPS_PROXY":
        return read_variable(environ, "https_proxy")
    return value


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    known = [entry.metadata["name"] for entry in _settings()]
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or _SERVICE_LINK.match(name):
            continue
        if name not in known and name.removesuffix("_FILE") not in known:
            yield f"{name} is not a setting and is ignored.{did_you_mean(name, known, most=1)}"
