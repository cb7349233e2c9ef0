"""The page that names tests names tests that are there."""

from __future__ import annotations

import re

from tests.architecture import ROOT
from tests.named_tests import is_there


def test_every_named_test_is_there() -> None:
    page = (ROOT / "docs" / "proofs.md").read_text()
    named = re.findall(r"`(tests/[^`]+)`", page)
    assert len(named) > 30
    assert [name for name in named if not is_there(name)] == []


def test_a_test_that_is_not_there_would_be_found() -> None:
    assert is_there("tests/test_proofs.py::test_every_named_test_is_there")
    assert not is_there("tests/test_proofs.py::test_every_named_test")
    assert not is_there("tests/no_such_file.py")
