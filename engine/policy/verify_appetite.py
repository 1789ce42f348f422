"""What the lender's risk appetite makes of a segment's bands, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine.policy.document import Appetite, AppetiteBand, Band, Segment
from engine.policy.errors import Path, Problem

RANGES = {"contraction": (0, 100), "expansion": (100, 200)}


def stages(segment: Segment) -> Iterator[tuple[str, int, tuple[Band, ...]]]:
    """The bands as each appetite has them, from each day on at which it makes another change: (mode, days after its record, bands)."""
    appetite = segment.appetite or Appetite()
    for mode, rows in (("contraction", appetite.contraction), ("expansion", appetite.expansion)):
        for days in sorted({row.after_days for row in rows}):
            yield mode, days, bands_after(segment.bands, rows, days)


def bands_after(bands: Sequence[Band], rows: Sequence[AppetiteBand], days: int) -> tuple[Band, ...]:
    """Bands with the limits that they have so many days after the appetite's record."""
    percents = {row.band: row.percent for row in rows if row.after_days <= days}
    return tuple(band.model_copy(update={"limit_minor": band.limit_minor * percents.get(band.name, 100) // 100}) for band in bands)


def appetite_problems(segment: Segment, path: Path) -> Iterator[Problem]:
    """Rows of unknown or repeated bands, percents on the wrong side of 100, and limits that would fall where the score rises."""
    if segment.appetite is None:
        return
    known = [band.name for band in segment.bands]
    for mode, (least, most) in RANGES.items():
        seen: set[str] = set()
        for j, row in enumerate(getattr(segment.appetite, mode)):
            here = (*path, mode, j)
            if row.band not in known:
                yield Problem((*here, "band"), f"there is no band {row.band!r}", f"one of {', '.join(known)}")
            if row.band in seen:
                yield Problem((*here, "band"), f"{row.band!r} is named twice", "say one percentage for each band")
            if not least <= row.percent <= most:
                yield Problem((*here, "percent"), f"{row.percent} is no {mode}", f"from {least} to {most}")
            seen.add(row.band)
    for mode, days, bands in stages(segment):
        for below, band in pairwise(bands):
            if band.limit_minor < below.limit_minor:
                message = (
                    f"{days} days after a {mode} the limit of {band.name!r}, {band.limit_minor}, would be below that of {below.name!r}, "
                    f"{below.limit_minor}: a better score would lower the limit"
                )
                yield Problem((*path, mode), message, f"a lower percentage for {below.name!r}, or a higher or later one for {band.name!r}")
