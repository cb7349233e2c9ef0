"""What is opened as the environment says: the store, and how long it and the journals of this host keep things."""

from __future__ import annotations

from gateway.config.settings import Settings
from gateway.retirement import Kept
from gateway.store.base import Retention, Store
from gateway.store.open import open_store

HOUR_S = 3600.0
DAY_S = 86_400.0


async def store_of(settings: Settings) -> Store:
    """A store that may still be away. Raises StoreUnfit and OSError."""
    return await open_store(
        state_dir=settings.state_dir,
        redis_url=settings.redis_url,
        redis_mode=settings.redis_mode,
        redis_prefix=settings.redis_prefix,
        retention=Retention(
            hours_d=settings.keep_hourly_d,
            days_d=settings.keep_daily_d,
            stories_d=settings.keep_story_d,
            stories_max=settings.keep_story_entries,
        ),
    )


def kept_of(settings: Settings) -> Kept:
    """What this host keeps of its journals."""
    return Kept(
        journal_s=settings.keep_journal_h * HOUR_S,
        journal_bytes=settings.keep_journal_gib << 30,
        archive_s=settings.keep_archive_d * DAY_S,
    )
