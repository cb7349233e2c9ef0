"""What commands share that work on the store: the environment's settings, the table's time zone, and a store opened for
one act."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from gateway.cli.failure import CliFailure
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from gateway.config.settings import Settings, SettingsFaults, from_environ
from gateway.errors import GatewayError
from gateway.from_settings import store_of
from gateway.journal.entries import NewerFormat
from gateway.store.base import Store, StoreAway, StoreUnfit
from providers.registry import ADAPTERS

T = TypeVar("T")

JOURNAL_FOLDER: Final = "journal"
"""Under the state folder; what this host's workers have not shipped yet is there."""


def settings_of_environment(flags: Mapping[str, str | None] | None = None) -> Settings:
    """Raises CliFailure with every fault of the environment."""
    try:
        return from_environ(os.environ, flags)
    except SettingsFaults as faults:
        raise CliFailure(str(faults)) from None


def with_store(settings: Settings, act: Callable[[Store], Awaitable[T]]) -> T:
    """Opens the store, does one thing, closes it. CliFailure: 2 for what the act refuses, 1 where the store fails."""

    if settings.redis_url is None and not settings.state_dir.exists():
        sys.stderr.write(f"note: there is no folder {settings.state_dir} yet; it is made, and nothing is in it\n")

    async def opened() -> T:
        store = await store_of(settings)
        try:
            return await act(store)
        finally:
            await store.aclose()

    try:
        return asyncio.run(opened())
    except StoreAway as away:
        raise CliFailure(f"the store cannot be asked: {away.reason}", 1) from None
    except StoreUnfit as unfit:
        raise CliFailure(str(unfit)) from None
    except NewerFormat as newer:
        raise CliFailure(f"an entry of the journal or the store was {newer}", 1) from None
    except GatewayError as error:
        raise CliFailure(error.message) from None
    except OSError as error:
        raise unusable_folder(settings, error) from None


def unusable_folder(settings: Settings, error: OSError) -> CliFailure:
    """What to tell of a state folder that cannot be made, opened or written: 2 where it is none, else 1."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return CliFailure(f"GATEWAY_STATE_DIR: {settings.state_dir} is a file or lies in one, expected a folder")
    return CliFailure(f"{settings.state_dir} cannot be used: {error.strerror or error}", 1)


def zone_of_table(settings: Settings) -> str:
    """The table's time zone; a host without a table, such as one for billing, reports in UTC."""
    if not settings.mappings.exists():
        return "UTC"
    try:
        return load(settings.mappings, os.environ, ADAPTERS).timezone
    except MappingFaults as faults:
        raise CliFailure(str(faults)) from None
