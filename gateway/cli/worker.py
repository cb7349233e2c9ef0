"""One worker process: an event loop, the application, and uvicorn on a socket that somebody else opened.

SIGTERM and SIGINT drain: readiness goes red at once, streams get their time, the journal is shipped, exit 0. A second
one ends at once. SIGHUP reloads the mapping table.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop

from gateway.app import Application, StartupFailed
from gateway.cli.http_protocol import GuardedProtocol
from gateway.config.settings import Settings, SettingsFaults, from_environ

EXIT_UNFIT = 2
"""The worker cannot work with what it was given: starting it again would not help."""
KEEP_ALIVE_S = 75
SAME_SIGNAL_S = 1.0
GC_THRESHOLDS = (20_000, 20, 100)
BACKLOG = 2048


class _Server(uvicorn.Server):
    """Signals are handled here, once, for all servers of the process; uvicorn's own way ends in a signal, not in 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_worker(
    settings: Settings,
    listener: socket.socket,
    admin_listener: socket.socket | None = None,
    *,
    table_in_force: Path | None = None,
    supervisor_pid: int | None = None,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Serves until told to stop; the exit code. `table_in_force` is shared with the workers beside this one, which
    the process `supervisor_pid` looks after; `on_ready` is called once requests are answered."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(
                _serve(Application(settings, table_in_force), listener, admin_listener, supervisor_pid, on_ready)
            )
        except StartupFailed as failure:
            sys.stderr.write(f"gateway: {failure}\n")
            return EXIT_UNFIT
    return 0


async def _serve(
    application: Application,
    listener: socket.socket,
    admin_listener: socket.socket | None,
    supervisor_pid: int | None,
    on_ready: Callable[[], None] | None,
) -> None:
    settings = application.settings
    await application.start()
    # What was built until here lives as long as the worker; and a request that ends well leaves no cycles behind, so
    # that looking for them every 700 objects is nearly always in vain.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    servers = [(_Server(_config(application, settings)), listener)]
    if admin_listener is not None:
        servers.append((_Server(_config(application.admin, settings)), admin_listener))
    loop = asyncio.get_running_loop()

    asked_at_s: list[float] = []

    def stop() -> None:
        # A service manager tells the whole group and the supervisor tells us once more: that is one signal, not two.
        asked_at_s.append(loop.time())
        if len(asked_at_s) > 1 and asked_at_s[-1] - asked_at_s[0] < SAME_SIGNAL_S:
            return
        application.readiness.draining = True
        for server, _ in servers:
            server.force_exit = server.should_exit
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, application.reload_soon)
    if on_ready is not None:
        on_ready()  # the socket listens already: whoever connects now waits for the loop, not for luck
    orphaned = asyncio.ensure_future(_stop_when_orphaned(supervisor_pid, stop))
    try:
        await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in servers))
    finally:
        orphaned.cancel()
        await application.stop()


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.drain_s),
    )


async def _stop_when_orphaned(supervisor_pid: int | None, stop: Callable[[], None]) -> None:
    """A worker whose supervisor was killed, be it before this is asked for the first time, drains and goes: nobody
    would start or stop it any more. One that has none outlives the shell that started it."""
    if supervisor_pid is None:
        return
    while os.getppid() == supervisor_pid:  # noqa: ASYNC110 (the kernel tells of a parent's end only where it is asked)
        await asyncio.sleep(1.0)
    stop()


def main(arguments: Sequence[str]) -> int:
    """`python -m gateway.cli.worker SUPERVISOR_PID TABLE_IN_FORCE FD [ADMIN_FD]`, its settings in the environment: what
    the supervisor starts."""
    try:
        settings = from_environ(os.environ)
    except SettingsFaults as faults:
        sys.stderr.write(f"gateway: {faults}\n")
        return EXIT_UNFIT
    supervisor_pid, table_in_force, *numbers = arguments
    listener, *more = [socket.socket(fileno=int(number)) for number in numbers]
    return run_worker(
        settings,
        listener,
        more[0] if more else None,
        table_in_force=Path(table_in_force),
        supervisor_pid=int(supervisor_pid),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
