"""The lock files hold what an installation needs, on every Python that we support, whichever made them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture import ROOT

PYTHONS: Final = ("3.11.0", "3.11.3", "3.12.0", "3.13.0")


def _locked(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==", (ROOT / name).read_text(), re.MULTILINE))


def _needed(package: str, python: str) -> set[str]:
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    try:
        asked = [Requirement(text) for text in requires(package) or ()]
    except PackageNotFoundError:
        return set()  # not for this Python
    return {
        canonicalize_name(each.name) for each in asked if each.marker is None or each.marker.evaluate({**environment})
    }


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
@pytest.mark.parametrize("python", PYTHONS)
def test_whatever_a_locked_package_needs_is_locked_too(lock: str, python: str) -> None:
    locked = _locked(lock)
    assert len(locked) > 10
    missing = {package: needed for package in locked if (needed := _needed(package, python) - locked)}
    assert missing == {}
