"""Tests that are named in a page or a table, as pytest names them: `tests/unit/test_keys.py::test_name`."""

from __future__ import annotations

import re

from tests.architecture import ROOT


def is_there(name: str) -> bool:
    """Whether such a test (of any parameters), or such a file, exists."""
    path, _, function = name.partition("::")
    file = ROOT / path
    return file.is_file() and (
        not function or re.search(rf"^def {function}\(", file.read_text(), re.MULTILINE) is not None
    )
