"""One variable of an environment, or of the file that `NAME_FILE` names (the habit of Docker and Kubernetes secrets).

Knows no names of its own; the environment is handed in as a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 64 * 1024


class VariableFault(Exception):
    """A variable that cannot be read. The message names it and never holds its value."""


def read_variable(environ: Mapping[str, str], name: str) -> str | None:
    """The value without blanks at its ends, or None where it is unset or empty.

    Raises VariableFault where both `NAME` and `NAME_FILE` are set, or the file cannot be read.
    """
    value = environ.get(name, "").strip()
    file = environ.get(f"{name}_FILE", "").strip()
    if value and file:
        raise VariableFault(f"{name} and {name}_FILE are both set, expected one of them")
    if file:
        return _read_file(f"{name}_FILE", Path(file)) or None
    return value or None


def _read_file(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise VariableFault(f"{variable} names {str(path)!r}, which cannot be read: {reason}") from error
    if len(data) > FILE_BYTES_MAX:
        raise VariableFault(f"{variable} names {str(path)!r}, which is larger than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode().strip()
    except UnicodeDecodeError as error:
        raise VariableFault(f"{variable} names {str(path)!r}, which is not UTF-8 text") from error
