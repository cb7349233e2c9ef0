"""The wheel that `pip install .` makes: everything the program reads is in it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.architecture import ROOT


def test_the_wheel_holds_what_the_program_reads(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert archive.read("gateway/mappings.yaml") == (ROOT / "mappings.yaml").read_bytes()
    assert {name.split("/")[0] for name in names} == {"gateway", "providers"}
    read = [
        path.relative_to(ROOT).as_posix()
        for package in ("gateway", "providers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert any(name.endswith(".lua") for name in read)
    assert sorted(names) == sorted([*read, "gateway/mappings.yaml"])
