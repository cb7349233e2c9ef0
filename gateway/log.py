"""Log lines as JSON on stderr, one object a line, without secrets.

Lines of requests are gathered and written together a few times a second, after the answers have gone out; warnings
and errors are written at once. Prompts and answers are never logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import time
from typing import Any, Final

from providers.wire import encode_json

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FLUSH_S: Final = 0.2
TALLY_S: Final = 1.0
GATHERED_MAX: Final = 1000
FIELD_CHARS_MAX: Final = 2000

_KEY_LIKE: Final = re.compile(r"\b(?:hf_|sk-|gsk_|csk-|fw_|Bearer\s+)[A-Za-z0-9_\-.]{8,}")


def redact(text: str) -> str:
    """Cuts what is long and blanks what looks like a credential."""
    return _KEY_LIKE.sub("***", text[:FIELD_CHARS_MAX])


class Log:
    """One per process. Not a general logger: each line is an event name and its fields."""

    def __init__(self, level: str = "info", *, fd: int | None = None) -> None:
        self.level = LEVELS[level]
        self._fd = sys.stderr.fileno() if fd is None else fd
        self._gathered: list[bytes] = []
        self._flush_planned = False
        self._tallies: dict[tuple[str, str], int] = {}

    def request(self, **fields: Any) -> None:
        """One line for one finished request; written soon."""
        if self.level > LEVELS["info"]:
            return
        self._gathered.append(self._line("info", "request", fields))
        if len(self._gathered) >= GATHERED_MAX:
            self.flush()
        elif not self._flush_planned:
            self._flush_planned = True
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def tally(self, event: str, team: str) -> None:
        """Counts what happens thousands of times when it does; one line a second and team says how often."""
        if not self._tallies:
            asyncio.get_running_loop().call_later(TALLY_S, self._write_tallies)
        self._tallies[event, team] = self._tallies.get((event, team), 0) + 1

    def _write_tallies(self) -> None:
        tallies, self._tallies = self._tallies, {}
        for (event, team), times in tallies.items():
            self.warning(event, team=team, times=times)

    def info(self, event: str, **fields: Any) -> None:
        self.emit("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.emit("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self.emit("error", event, fields)

    def flush(self) -> None:
        self._flush_planned = False
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._write(data)

    def close(self) -> None:
        """Writes what was kept back."""
        self._write_tallies()
        self.flush()

    def emit(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Writes a line at once, if the level asks for it."""
        if self.level <= LEVELS[level]:
            self._write(self._line(level, event, fields))

    def _line(self, level: str, event: str, fields: dict[str, Any]) -> bytes:
        for name, value in fields.items():
            if type(value) is str and (len(value) > 100 or " " in value):
                fields[name] = redact(value)
        return encode_json({"ts": round(time.time(), 3), "level": level, "event": event, **fields}) + b"\n"

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except (BlockingIOError, BrokenPipeError):
            # Nobody reads the log, or not fast enough: requests must not wait for that.
            return


class Forward(logging.Handler):
    """Brings what modules and libraries say to the standard logging into the one log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = {"CRITICAL": "error"}.get(record.levelname, record.levelname.lower())
        fields: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["fault"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        self._log.emit(level if level in LEVELS else "info", record.name, fields)

    def install(self) -> None:
        """Our own modules are heard from the log's level on, libraries from warnings on."""
        for name, level in (("gateway", self._log.level), ("", LEVELS["warning"])):
            logger = logging.getLogger(name)
            logger.handlers = [self]
            logger.setLevel(level)
            logger.propagate = False
