"""The parser, the exit codes, and nothing else. 0: done; 1: it failed; 2: what was given is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gateway import __version__
from gateway.cli import (
    budget,
    config,
    demo,
    doctor,
    explain,
    invoice,
    journal,
    mappings,
    plan,
    reconcile,
    serve,
    store,
    tenants,
    usage,
)
from gateway.cli.failure import CliFailure
from gateway.config.settings import table

_MODULES = (
    demo, serve, config, doctor, explain, plan, tenants, budget, usage, invoice, reconcile, journal, store, mappings,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="gateway",
        description="One endpoint for open models at many inference providers: routed, failing over, metered per team.",
        epilog=_environment(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=__version__)
    commands = root.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for module in _MODULES:
        module.add_parser(commands)
    return root


def _environment() -> str:
    """The settings, as the environment takes them."""
    rows = list(table())
    width = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:<{width}}  {meaning} ({shown})" for name, meaning, shown in rows]
    return "\n".join(["environment (NAME_FILE names a file that holds the value):", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    args = parser().parse_args(arguments)
    try:
        code: int = args.run(args)
    except CliFailure as failure:
        sys.stderr.write(f"gateway: {failure}\n")
        return failure.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough of it, as `head` does.
        sys.stderr.close()
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
