"""The mark in a journal's folder that says: every request closed, every entry acknowledged; and up to which sequences.

A mark without them, which a worker that died while it wrote leaves, is read from the segments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gateway.journal.archive import archived_last, segments_in
from gateway.journal.reader import SHIPPED_NAME, read_state


def mark_shipped(folder: Path, last: Mapping[str, int]) -> None:
    """`last`: the last sequence of each team. Raises OSError."""
    path = folder / SHIPPED_NAME
    path.touch(mode=0o600)
    path.write_text(json.dumps(last))


def shipped_sequences(folder: Path) -> dict[str, int]:
    """By team; empty where the folder is gone meanwhile. Raises OSError and NewerFormat."""
    try:
        text = (folder / SHIPPED_NAME).read_text()
    except FileNotFoundError:
        return {}
    try:
        last: dict[str, int] = json.loads(text)
        return last
    except ValueError:
        return read_state(folder, keep_aside=False).last


def archived_sequences(archived: Path) -> dict[str, int]:
    """The last sequence by team of a journal of which there is only the archive. Raises OSError."""
    last: dict[str, int] = {}
    for path in segments_in(archived):
        last.update(archived_last(path))
    return last
