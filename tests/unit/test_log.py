"""Log lines: JSON, one a line, no secrets, nothing lost that was gathered."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.log import FIELD_CHARS_MAX, Forward, Log


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def lines(read_fd: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(read_fd, 1 << 16).splitlines()]


def test_a_line_has_its_level_event_and_fields(pipe: tuple[int, int]) -> None:
    Log("info", fd=pipe[1]).warning("store_away", reason="time-out")
    (line,) = lines(pipe[0])
    assert (line["level"], line["event"], line["reason"]) == ("warning", "store_away", "time-out")


def test_what_is_below_the_level_is_not_written(pipe: tuple[int, int]) -> None:
    log = Log("error", fd=pipe[1])
    log.warning("a")
    log.request(id="b")
    log.flush()
    log.error("c")
    assert [line["event"] for line in lines(pipe[0])] == ["c"]


def test_credentials_and_long_fields_are_cut(pipe: tuple[int, int]) -> None:
    secret = "hf_gw_" + "a1" * 30
    Log("info", fd=pipe[1]).error("x", fault=f"refused: Bearer {secret} and sk-{'b' * 40}", much="y" * 10_000)
    (line,) = lines(pipe[0])
    assert "a1a1" not in line["fault"]
    assert "bbbb" not in line["fault"]
    assert len(line["much"]) == FIELD_CHARS_MAX


def test_lines_of_requests_are_gathered_and_written_soon(pipe: tuple[int, int]) -> None:
    async def three_requests() -> None:
        log = Log("info", fd=pipe[1])
        for number in range(3):
            log.request(id=str(number))
        await asyncio.get_running_loop().run_in_executor(None, os.read, pipe[0], 0)
        log.flush()

    asyncio.run(three_requests())
    assert [line["id"] for line in lines(pipe[0])] == ["0", "1", "2"]


def test_a_line_stays_one_line(pipe: tuple[int, int]) -> None:
    Log("info", fd=pipe[1]).error("x", fault='a\nb {"level": "info"}')
    assert len(lines(pipe[0])) == 1


def test_what_modules_tell_the_standard_logging_comes_here(pipe: tuple[int, int]) -> None:
    forward = Forward(Log("info", fd=pipe[1]))
    record = logging.LogRecord("gateway.journal", logging.ERROR, "f.py", 1, "the journal %s is odd", ("i_1",), None)
    forward.emit(record)
    (line,) = lines(pipe[0])
    assert (line["event"], line["level"], line["message"]) == ("gateway.journal", "error", "the journal i_1 is odd")


def test_what_happens_thousands_of_times_is_told_once(pipe: tuple[int, int]) -> None:
    async def flood() -> None:
        log = Log("info", fd=pipe[1])
        for team in ["search"] * 1000 + ["ads"]:
            log.tally("overloaded", team)
        log.close()

    asyncio.run(flood())
    told = [(line["event"], line["team"], line["times"]) for line in lines(pipe[0])]
    assert told == [("overloaded", "search", 1000), ("overloaded", "ads", 1)]
