"""`gateway demo`: simulated providers, a team, a key and the gateway, with nothing installed or configured.

The simulated providers run in a thread of this process, so that whatever ends it ends all of it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Final

from gateway.administration import Actor, Administration
from gateway.cli.config import shipped_table
from gateway.cli.failure import CliFailure
from gateway.cli.serve import listen
from gateway.cli.storage import with_store
from gateway.cli.worker import run_worker
from gateway.config.demo_table import DOWN_MODEL, DOWN_PROVIDER, SHOWN_MODEL, demo_table
from gateway.config.settings import Settings, SettingsFaults, from_environ
from gateway.ids import new_team_id
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.server import BASE_PATHS, SimulatorServer
from gateway.store.base import Store

FOLDER: Final = Path(".gateway") / "demo"
TEAM: Final = "demo"
PROVIDER_KEY: Final = "sim-demo"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="try it: simulated providers, a team and a key, all in one",
        description="Starts a simulated upstream per provider, each speaking that provider's own wire format, and the "
        f"gateway before them; creates a team and a key. Everything is kept in {FOLDER}, which is emptied at start. "
        "Ctrl-C stops all of it.",
    )
    parser.add_argument("--port", metavar="P", help="port to listen on (default 8000)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDIS_")}
    flags = {
        "port": args.port,
        "mappings": str(FOLDER / "mappings.yaml"),
        "state_dir": str(FOLDER),
        "workers": "1",
    }
    try:
        settings = from_environ(environ, flags, {"admin_key": secrets.token_urlsafe(18), "log_level": "warning"})
    except SettingsFaults as faults:
        raise CliFailure(str(faults)) from None
    listener = listen(settings.host, settings.port)
    lock = _own_folder(FOLDER)
    simulators = SimulatorServer()
    simulators.start()
    try:
        simulators.simulators.script.set("groq", DOWN_MODEL, [(Behaviour(status=503), None)])
        base_urls = {name: simulators.base_url(name) for name in BASE_PATHS}
        (FOLDER / "mappings.yaml").write_text(demo_table(shipped_table(), base_urls, PROVIDER_KEY))
        key = with_store(settings, _team_and_key)
        address = f"http://{settings.host}:{listener.getsockname()[1]}"
        return run_worker(settings, listener, on_ready=lambda: _welcome(address, key, settings))
    finally:
        simulators.stop()
        listener.close()
        os.close(lock)


def _own_folder(folder: Path) -> int:
    """An empty folder that no other demo uses as long as the returned descriptor is open."""
    lock_path = folder.with_suffix(".lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=not folder.exists())
        folder.mkdir(mode=0o700)
    except BlockingIOError:
        raise CliFailure(f"another demo is running in {folder}; stop it, or start this one elsewhere", 1) from None
    except OSError as error:
        raise CliFailure(f"{folder} cannot be made anew: {error.strerror or error}", 1) from None
    return lock


async def _team_and_key(store: Store) -> str:
    administration = Administration(store, new_team_id=new_team_id)
    actor = Actor("cli", "demo")
    await administration.create_team({"team": TEAM}, actor)
    issued = await administration.create_key(TEAM, {}, actor)
    return issued.text


def _welcome(address: str, key: str, settings: Settings) -> None:
    out = sys.stdout
    out.write(f"""\
The gateway runs on {address}, with simulated providers behind it.

  console    {address}/
  key        {key}   (team {TEAM})
  admin key  {settings.admin_key}

Ask for a model whose first provider ({DOWN_PROVIDER}) is down; x-gateway-attempts tells how it was answered:

curl -i {address}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
  -d '{{"model": "{SHOWN_MODEL}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'

The same, streamed:

curl -iN {address}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
  -d '{{"model": "{SHOWN_MODEL}", "stream": true, "messages": [{{"role": "user", "content": "Say hello."}}]}}'

Append :cohere or another provider to the model to choose who answers. Why one went where it went:

GATEWAY_STATE_DIR={settings.state_dir} gateway explain --request INFERENCE_ID

Ctrl-C stops everything.
""")
    out.flush()
