"""The results as a picture: what each contender makes of a second, and what an event costs the engine, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from engine.stream.stages import Stage
from scripts.benchmark.load import Load
from scripts.benchmark.scene import Result

WIDTH_IN: Final = 11.0
BAR_IN: Final = 0.62  # of the figure's height, for a contender
INK: Final = "#22303c"
PLATE: Final = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # under numbers, so that no line of the grid crosses them
RATES: Final = (("a second", "#7fa8d1"), ("a second of CPU time, Redis included", "#1f5a99"))
REST: Final = ("the rest of the worker", "Redis")
# One for each part of the cost, neighbours far from each other.
PARTS: Final = ("#4e79a7", "#a0cbe8", "#f28e2b", "#ffbe7d", "#59a14f", "#8cd17d", "#b6992d", "#f1ce63", "#bab0ac", "#e15759")


def draw(results: Sequence[Result], load: Load, partitions: int, path: Path) -> None:
    """Write the picture to a file, SVG or PNG by its suffix. There must be a result."""
    engines = [result for result in results if result.stages]
    heights = [BAR_IN * len(results) + 1.2] + ([BAR_IN * len(engines) + 1.4] if engines else [])
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.6), layout="constrained", facecolor="white")
    figure.suptitle(
        f"{load.events:,} events of {load.accounts:,} accounts in {load.days} days, {partitions} partitions", fontsize=11, color=INK
    )
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    rates(axes[0], results)
    if engines:
        costs(axes[1], engines)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def rates(axes: Axes, results: Sequence[Result]) -> None:
    """Events a second and a second of CPU time, a pair of bars for each contender."""
    told = [(result.per_second, result.per_cpu_second) for result in results]
    thick = 0.38
    for number, (label, colour) in enumerate(RATES):
        places = [place + (number - 0.5) * thick for place in range(len(results))]
        bars = axes.barh(places, [pair[number] for pair in told], thick, label=label, color=colour)
        axes.bar_label(bars, [f"{pair[number]:,.0f}" for pair in told], padding=4, fontsize=8, color=INK, bbox=PLATE)
    axes.set_xscale("log")
    axes.set_xlim(min(map(min, told)) / 2, max(map(max, told)) * 2.5)  # room for the numbers behind the longest bar
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    dress(axes, [result.name for result in results], "events, logarithmic")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(RATES), fontsize=9, frameon=False)


def costs(axes: Axes, results: Sequence[Result]) -> None:
    """Microseconds of CPU an event, a bar of its parts for each run of the engine."""
    parts = [*Stage, *REST]
    rows = []
    for result in results:
        plain = result.plain()
        stages = [plain["stages_us_per_event"].get(stage, 0.0) for stage in Stage]
        rows.append([*stages, plain["process_us_per_event"] - sum(stages), plain["redis_us_per_event"]])
    longest = max(map(sum, rows))
    for number, (part, colour) in enumerate(zip(parts, PARTS, strict=True)):
        wide, lefts = [row[number] for row in rows], [sum(row[:number]) for row in rows]
        bars = axes.barh(range(len(rows)), wide, 0.6, left=lefts, label=part, color=colour, edgecolor="white", linewidth=0.5)
        # Only where it has room.
        axes.bar_label(bars, [f"{us:.1f}" if us > 0.035 * longest else "" for us in wide], label_type="center", fontsize=8, color=INK)
    for place, row in enumerate(rows):
        axes.annotate(
            f"{sum(row):.1f}", (sum(row), place), (4, 0), textcoords="offset points", va="center", fontsize=9, color=INK, bbox=PLATE
        )
    axes.set_xlim(0, longest * 1.08)
    dress(axes, [result.name for result in results], "µs of CPU an event")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, fontsize=9, frameon=False)


def dress(axes: Axes, names: Sequence[str], what: str) -> None:
    """Names on the left, the first one on top, and a grid that stays behind the bars."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(what, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#dde3e8", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#dde3e8")
