"""`gateway serve`: checks what it was given, opens the socket, and runs one worker or several."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from gateway.cli.failure import CliFailure
from gateway.cli.storage import unusable_folder
from gateway.cli.supervisor import supervise
from gateway.cli.worker import BACKLOG, run_worker
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from gateway.config.settings import Settings, SettingsFaults, from_environ, with_flags
from providers.registry import ADAPTERS

ADMIN_HOST = "127.0.0.1"
_FLAGS = ("host", "port", "workers", "mappings", "log_level")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve", help="run the gateway", description="Run the gateway until SIGTERM or Ctrl-C."
    )
    parser.add_argument("--host", metavar="H", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", metavar="P", help="port to listen on (default 8000)")
    parser.add_argument("--workers", metavar="N", help="worker processes (default 1)")
    parser.add_argument("--mappings", metavar="FILE", help="the mapping table (default ./mappings.yaml)")
    parser.add_argument("--log-level", metavar="L", help="debug, info, warning or error (default info)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    flags = {name: getattr(args, name) for name in _FLAGS}
    try:
        settings = from_environ(os.environ, flags)
    except SettingsFaults as faults:
        raise CliFailure(str(faults)) from None
    return serve(settings, with_flags(os.environ, flags))


def serve(settings: Settings, environ: dict[str, str]) -> int:
    """Runs the gateway with these settings. `environ` says the same, to the workers."""
    # A reload that is asked for before the table was read needs nothing; by default it would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _check(settings)
    listener = listen(settings.host, settings.port)
    sockets = [listener]
    if settings.admin_port is not None:
        sockets.append(listen(ADMIN_HOST, settings.admin_port))
    host, port = listener.getsockname()[:2]
    _say(f"listening on http://{'[' + host + ']' if ':' in host else host}:{port}, {settings.workers} worker(s)")
    try:
        if settings.workers == 1:
            return run_worker(settings, *sockets)
        return supervise(settings.workers, sockets, environ, settings.drain_s)
    finally:
        for sock in sockets:
            sock.close()


def _check(settings: Settings) -> None:
    """What would stop every worker is said once, here."""
    for warning in settings.warnings:
        _say(f"note: {warning}")
    try:
        catalog = load(Path(settings.mappings), os.environ, ADAPTERS)
    except MappingFaults as faults:
        raise CliFailure(str(faults)) from None
    for provider, reason in catalog.left_out.items():
        _say(f"note: {provider} is left out: {reason}")
    if not catalog.models:
        _say("note: no model has a provider that can be asked; set a provider's key")
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unusable_folder(settings, error) from None
    if settings.redis_url is None:
        _say(f"single-host mode: teams, keys and the ledger are in SQLite under {settings.state_dir}")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that child processes may inherit. CliFailure where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CliFailure(f"cannot listen on {host}:{port}: {reason}", 1) from None
    sock.listen(BACKLOG)
    sock.set_inheritable(True)
    return sock


def _say(line: str) -> None:
    sys.stderr.write(f"gateway: {line}\n")
    sys.stderr.flush()
