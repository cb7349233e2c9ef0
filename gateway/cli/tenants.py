"""`gateway teams` and `gateway keys`: the administrator's acts, straight against the store."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gateway.administration import Actor, Administration, IssuedKey, wall_clock_ms
from gateway.cli.output import print_json, print_table
from gateway.cli.storage import settings_of_environment, with_store
from gateway.cli.tenant_flags import (
    add_common_flags,
    add_key_flags,
    add_team_flags,
    key_fields,
    team_fields,
    webhook_field,
)
from gateway.store.base import Store
from gateway.tenant_views import key_view, team_view
from gateway.tenants import Key, Team

T = TypeVar("T")
View = dict[str, Any]


def add_parser(subparsers: Any) -> None:
    """Adds `teams` and `keys`."""
    _add_teams(subparsers.add_parser("teams", help="make, list, show, change and delete teams"))
    _add_keys(subparsers.add_parser("keys", help="make, list, rotate and revoke a team's keys"))


def _add_teams(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(metavar="ACT", required=True)
    create = _act(acts, "create", "make a team", create_team)
    create.add_argument("name", metavar="NAME")
    _act(acts, "list", "all teams", list_teams)
    show = _act(acts, "show", "one team", show_team)
    update = _act(acts, "update", "change what the given flags name; the rest stays", update_team)
    delete = _act(acts, "delete", "end a team: its keys are dead at once, its usage stays", delete_team)
    for one in (show, update, delete):
        one.add_argument("name", metavar="TEAM")
    for one in (create, update):
        add_common_flags(one)
        add_team_flags(one)
    update.add_argument("--name", dest="new_name", metavar="NAME", help="a new name; the team's id stays")
    update.add_argument(
        "--clear", metavar="FIELD", action="append", help="put a field's default back, such as budget or models"
    )


def _add_keys(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(metavar="ACT", required=True)
    create = _act(acts, "create", "make a key, printed once, alone on stdout", create_key)
    add_common_flags(create)
    add_key_flags(create)
    listing = _act(acts, "list", "a team's keys", list_keys)
    rotate = _act(acts, "rotate", "a new secret under the same id, printed once, alone on stdout", rotate_key)
    rotate.add_argument(
        "--overlap", metavar="SECONDS", type=int, help="how long the old one still works (default a day)"
    )
    revoke = _act(acts, "revoke", "end a key", revoke_key)
    for one in (rotate, revoke):
        one.add_argument("id", metavar="ID")
    for one in (create, listing, rotate, revoke):
        one.add_argument("--team", metavar="T", required=True)


def _act(acts: Any, name: str, words: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(name, help=words, description=words)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def create_team(args: argparse.Namespace) -> int:
    given = {"team": args.name, **team_fields(args), **_webhook(args)}
    team, durable = _changed(lambda acts: acts.create_team(given, _actor()))
    _tell_secret(given)
    return _show_team(args, {**team_view(team), **durable})


def update_team(args: argparse.Namespace) -> int:
    given = {**dict.fromkeys(args.clear or ()), **team_fields(args), **_webhook(args)}
    if args.new_name is not None:
        given["team"] = args.new_name
    team, durable = _changed(lambda acts: acts.update_team(args.name, given, _actor()))
    _tell_secret(given)
    return _show_team(args, {**team_view(team), **durable})


def show_team(args: argparse.Namespace) -> int:
    return _show_team(args, team_view(_asked(lambda acts: acts.team(args.name))))


def list_teams(args: argparse.Namespace) -> int:
    views = [team_view(team) for team in _asked(lambda acts: acts.teams())]
    if args.json:
        print_json({"data": views})
    else:
        rows = [(view["team"], _budget(view), _limits(view), _list(view["models"]), view["id"]) for view in views]
        print_table(("TEAM", "BUDGET", "LIMITS", "MODELS", "ID"), rows)
    return 0


def delete_team(args: argparse.Namespace) -> int:
    team, durable = _changed(lambda acts: acts.delete_team(args.name, _actor()))
    if args.json:
        print_json({**team_view(team), **durable})
    else:
        sys.stderr.write(f"team {team.name!r} is deleted and its keys are dead; its usage stays\n")
    return 0


def create_key(args: argparse.Namespace) -> int:
    given = key_fields(args)
    return _show_issued(args, *_changed(lambda acts: acts.create_key(args.team, given, _actor())))


def rotate_key(args: argparse.Namespace) -> int:
    given = {} if args.overlap is None else {"overlap_seconds": args.overlap}
    return _show_issued(args, *_changed(lambda acts: acts.rotate_key(args.team, args.id, given, _actor())))


def list_keys(args: argparse.Namespace) -> int:
    team, keys = _asked(lambda acts: acts.keys(args.team))
    views = [_key_view(team, key) for key in keys]
    if args.json:
        print_json({"data": views})
        return 0
    rows = [
        (
            view["id"],
            view["prefix"],
            "revoked" if view["revoked"] else "live" if key.is_live(wall_clock_ms()) else "expired",
            view["created_at"],
            view["expires_at"] or "never",
            view["last_used_at"] or "never",
            _budget(view),
        )
        for view, key in zip(views, keys, strict=True)
    ]
    print_table(("ID", "PREFIX", "STATE", "CREATED", "EXPIRES", "LAST USED", "BUDGET"), rows)
    return 0


def revoke_key(args: argparse.Namespace) -> int:
    (team, key), durable = _changed(lambda acts: acts.revoke_key(args.team, args.id, _actor()))
    if args.json:
        print_json({**_key_view(team, key), **durable})
    else:
        sys.stderr.write(f"key {key.id} of team {team.name!r} is revoked; every worker refuses it within 5 seconds\n")
    return 0


def _asked(act: Callable[[Administration], Awaitable[T]]) -> T:
    return with_store(settings_of_environment(), lambda store: act(Administration(store)))


def _changed(act: Callable[[Administration], Awaitable[T]]) -> tuple[T, View]:
    """What the act gives, and what is added to its JSON where not every replica of the store has it yet."""

    async def acted(store: Store) -> tuple[T, bool]:
        acts = Administration(store)
        return await act(acts), acts.durable

    result, durable = with_store(settings_of_environment(), acted)
    if durable:
        return result, {}
    sys.stderr.write("note: not every replica of the store has this yet; a failover at this moment could undo it\n")
    return result, {"durable": False}


def _actor() -> Actor:
    return Actor("cli", socket.gethostname())


def _webhook(args: argparse.Namespace) -> dict[str, Any]:
    return {} if args.webhook_url is None else {"webhook": webhook_field(args.webhook_url)}


def _tell_secret(given: dict[str, Any]) -> None:
    if given.get("webhook"):
        sys.stderr.write(f"the webhook's secret, shown this once: {given['webhook']['secret']}\n")


def _key_view(team: Team, key: Key) -> dict[str, Any]:
    return key_view(key, team.name, wall_clock_ms())


def _show_issued(args: argparse.Namespace, issued: IssuedKey, durable: View) -> int:
    if args.json:
        print_json({**_key_view(issued.team, issued.key), "key": issued.text, **durable})
    else:
        # Alone on stdout, so that KEY=$(gateway keys create --team T) works.
        sys.stderr.write(f"key {issued.key.id} of team {issued.team.name!r}; it is shown this once:\n")
        sys.stdout.write(issued.text + "\n")
    return 0


def _show_team(args: argparse.Namespace, view: View) -> int:
    if args.json:
        print_json(view)
        return 0
    shown = {
        **view,
        "budget": _budget(view),
        "limits": _limits(view),
        "models": _list(view["models"]),
        "providers": _list(view["providers"]),
        "accepts_from": ", ".join(view["accepts_from"]),
        "webhook": view["webhook"]["url"] if view["webhook"] else None,
    }
    print_table(("FIELD", "VALUE"), [(name, str(value)) for name, value in shown.items() if value not in (None, "")])
    return 0


def _budget(view: dict[str, Any]) -> str:
    budget = view["budget"]
    return "none" if budget is None else f"{budget['usd']} USD/{budget['period']} {budget['enforce']}"


def _limits(view: dict[str, Any]) -> str:
    words = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "concurrency": "at a time"}
    return ", ".join(f"{view['limits'][name]} {word}" for name, word in words.items() if view["limits"][name]) or "none"


def _list(names: list[str]) -> str:
    return ", ".join(names) or "all"
