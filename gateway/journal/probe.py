"""Whether a folder can hold a journal: it can be written, and what is written can be forced to the disk."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final

PROBE_BYTES: Final = 4096


def probe_sync(folder: Path) -> float:
    """Writes a block and syncs it; the seconds that the sync took. Leaves nothing behind. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=".probe-", dir=folder)
    try:
        os.write(descriptor, bytes(PROBE_BYTES))
        began_s = time.monotonic()
        os.fsync(descriptor)
        return time.monotonic() - began_s
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
