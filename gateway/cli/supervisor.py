"""Several workers on one listening socket: started, watched, replaced when they die, told to stop.

It serves nothing itself. Workers are spawned, never forked: a journal and an event loop do not survive a fork. Signals
go to this process; SIGTERM and SIGINT are passed on as a drain, SIGHUP as a reload.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import multiprocess

from gateway.cli.worker import EXIT_UNFIT

RESTART_S: Final = 1.0
"""A worker that dies is replaced, at most this often."""
PATIENCE_S: Final = 10.0
"""Beyond the drain time, before a worker that does not end is killed."""


def supervise(count: int, sockets: Sequence[socket.socket], environ: Mapping[str, str], drain_s: float) -> int:
    """Runs `count` workers until told to stop; the exit code."""
    shared = Path(tempfile.mkdtemp(prefix="gateway-workers-"))
    try:
        return asyncio.run(_Supervisor(sockets, environ, shared, drain_s).run(count))
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _ignore_hangup() -> None:
    """In a new worker: a reload that comes before it can listen would end it. It reads the newest table anyway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Supervisor:
    def __init__(
        self, sockets: Sequence[socket.socket], environ: Mapping[str, str], shared: Path, drain_s: float
    ) -> None:
        """`shared` is a folder of this run, empty, for what its workers tell each other."""
        self._sockets = sockets
        self._metrics_dir = str(shared / "metrics")
        self._table_in_force = str(shared / "mappings.yaml")
        (shared / "metrics").mkdir()
        self._environ = {**environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics_dir}
        self._drain_s = drain_s
        self._living: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self, count: int) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        await asyncio.gather(*(self._keep_one() for _ in range(count)))
        return self._exit_code

    async def _keep_one(self) -> None:
        """One worker after another, until told to stop."""
        while not self._stopping.is_set():
            begun_s = time.monotonic()
            process = await self._spawn()
            code = await self._until_ended(process)
            del self._living[process.pid]
            # By its folder's name: this process itself has none, as only workers count.
            multiprocess.mark_process_dead(process.pid, self._metrics_dir)  # type: ignore[no-untyped-call]
            if self._stopping.is_set():
                return
            if code == EXIT_UNFIT:
                self._exit_code = EXIT_UNFIT
                self._stop()
                return
            sys.stderr.write(f"gateway: worker {process.pid} ended with {code}; another one takes its place\n")
            wait_s = RESTART_S - (time.monotonic() - begun_s)
            if wait_s > 0:
                await asyncio.wait([asyncio.ensure_future(self._stopping.wait())], timeout=wait_s)

    async def _spawn(self) -> asyncio.subprocess.Process:
        fds = [sock.fileno() for sock in self._sockets]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.cli.worker",
            str(os.getpid()),
            self._table_in_force,
            *map(str, fds),
            pass_fds=fds,
            env=self._environ,
            # Ctrl-C reaches the whole terminal; the workers must hear of it from us, once.
            start_new_session=True,
            preexec_fn=_ignore_hangup,
        )
        self._living[process.pid] = process
        return process

    async def _until_ended(self, process: asyncio.subprocess.Process) -> int:
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            await asyncio.wait([ended], timeout=self._drain_s + PATIENCE_S)
            if not ended.done():
                process.kill()
        return await ended

    def _stop(self) -> None:
        self._stopping.set()
        for sock in self._sockets:
            sock.close()  # or callers would go on being let in, and wait for workers that take nobody
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        for pid in self._living:
            with suppress(ProcessLookupError):  # it ended, and we are about to hear of it
                os.kill(pid, number)
