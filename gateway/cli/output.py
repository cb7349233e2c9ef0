"""Small aligned tables, and JSON, for what commands print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from providers.wire import encode_json


def print_json(value: Any) -> None:
    sys.stdout.write(encode_json(value).decode() + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Columns as wide as their widest cell; those named in `right` are numbers, flush right."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        )
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
