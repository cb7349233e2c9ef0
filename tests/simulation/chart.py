"""One run as a picture: the weather, whom requests asked first, and what it cost them. Needs matplotlib."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from tests.simulation.fleet import WINDOW_S, Record
from tests.simulation.frozen_loop import BEGIN_S
from tests.simulation.weather import PROVIDERS, Sky, Weather

COLOURS: Final = {Sky.OUTAGE: "tab:red", Sky.SLOW: "tab:orange", Sky.STORM: "tab:purple", Sky.FLAPPING: "tab:brown"}
ABOVE: Final[dict[str, Any]] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(PROVIDERS)}
"""Where legends stand: over their axes, where they hide nothing."""


def draw(record: Record, weather: Weather, path: Path) -> None:
    """Writes a PNG. ModuleNotFoundError where matplotlib is not installed."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    figure, (sky, first, cost) = importlib.import_module("matplotlib.pyplot").subplots(
        3, 1, sharex=True, figsize=(14, 9), height_ratios=(2, 3, 2), layout="constrained"
    )
    windows = range(1 + max(window for window, _ in record.first_asked))
    minutes = [window * WINDOW_S / 60 for window in windows]
    _weather(sky, weather)
    shares = [[record.first_asked[window, name] for window in windows] for name in PROVIDERS]
    first.stackplot(minutes, shares, labels=PROVIDERS, step="post", alpha=0.8)
    first.set_ylabel(f"requests in {WINDOW_S} s,\nby whom they asked first")
    first.legend(**ABOVE)
    came = [sum(share[window] for share in shares) or 1 for window in windows]
    cost.step(
        minutes, [record.tried[window] / came[window] for window in windows], where="post", label="attempts per request"
    )
    failed = [100 * record.failed[window] / came[window] for window in windows]
    cost.step(minutes, failed, where="post", color="tab:red", label="errors seen by callers, %")
    cost.set_xlabel("minutes")
    cost.legend(**ABOVE)
    figure.suptitle(
        f"Seed {weather.seed}: {record.requests} requests, {record.attempts} attempts, {record.errors} errors"
    )
    figure.savefig(path, dpi=110)


def _weather(axes: Any, weather: Weather) -> None:
    for row, spells in enumerate(weather.spells):
        for spell in spells:
            span = ((spell.begin_s - BEGIN_S) / 60, (spell.end_s - spell.begin_s) / 60)
            axes.broken_barh([span], (row - 0.4, 0.8), color=COLOURS[spell.sky])
    axes.set_yticks(range(len(PROVIDERS)), PROVIDERS)
    axes.invert_yaxis()
    marks = [axes.plot([], [], color=colour, linewidth=8, label=sky.value)[0] for sky, colour in COLOURS.items()]
    axes.legend(handles=marks, **ABOVE)
    axes.set_ylabel("weather")
