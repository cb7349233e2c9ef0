"""Watches the mapping table: a change of the file, or a signal, makes a new catalog or changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from providers.base import Adapter

LOOK_S: Final = 0.5


class TableWatch:
    """`fault` is why the newest file was refused, or None."""

    def __init__(self, path: Path, environ: Mapping[str, str], adapters: Mapping[str, Adapter]) -> None:
        self._path = path
        self._environ = environ
        self._adapters = adapters
        self._seen: tuple[int, int, int] | None = None
        self._look = asyncio.Event()
        self.fault: str | None = None

    def load(self) -> Catalog:
        """The table as it is now. Raises MappingFaults."""
        self._seen = self._stamp()
        return load(self._path, self._environ, self._adapters)

    def look_now(self) -> None:
        """Read it again, whether or not it changed."""
        self._seen = None
        self._look.set()

    async def run(self, use: Callable[[Catalog], None], refuse: Callable[[str], None]) -> None:
        """For ever. `use` gets each new catalog, `refuse` the reason why one was not taken."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            if self._stamp() == self._seen:
                continue
            try:
                # In a thread: reading a large table takes a good part of a second.
                catalog = await asyncio.to_thread(self.load)
            except MappingFaults as faults:
                self.fault = str(faults)
                refuse(self.fault)
            else:
                self.fault = None
                use(catalog)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
