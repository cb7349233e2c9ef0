"""Watches the mapping table: a change of the file, or a signal, makes a new catalog or changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import read, read_table
from providers.base import Adapter

LOOK_S: Final = 0.25

log = logging.getLogger("gateway.table")


class TableWatch:
    """`fault` is why the newest file was refused, or None. `in_force` is where the workers of one gateway keep the
    table that they last took, for whoever takes the place of one of them while the file is faulty."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        adapters: Mapping[str, Adapter],
        *,
        in_force: Path | None = None,
    ) -> None:
        self._path = path
        self._in_force = in_force
        self._environ = environ
        self._adapters = adapters
        self._seen: tuple[int, int, int] | None = None
        self._look = asyncio.Event()
        self.fault: str | None = None

    def begin(self) -> Catalog:
        """The first table of a worker: the file as it is now, or where it is faulty what the other workers go on with.
        Raises MappingFaults where there is neither."""
        try:
            return self.load()
        except MappingFaults as faults:
            if self._in_force is None or not self._in_force.exists():
                raise
            self.fault = str(faults)
            return self._read(read_table(self._in_force))

    def load(self) -> Catalog:
        """The file as it is now. Raises MappingFaults."""
        self._seen = self._stamp()
        data = read_table(self._path)
        catalog = self._read(data)
        self._keep(data)
        return catalog

    def _read(self, data: bytes) -> Catalog:
        return read(data, str(self._path), self._environ, self._adapters)

    def _keep(self, data: bytes) -> None:
        if self._in_force is None:
            return
        part = self._in_force.with_suffix(f".{os.getpid()}")
        try:
            part.write_bytes(data)
            part.replace(self._in_force)
        except OSError as error:
            log.warning("the table in force could not be kept for other workers: %s", error.strerror)

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
