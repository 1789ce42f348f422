"""What came of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.watch import Recovery, Stop, recoveries


@dataclass
class Report:
    """``faults`` by kind, as often as they happened; ``counts`` is what the auditor counted; ``followed`` is how many journal records a
    second Redis applied; ``violations`` is everything that must not be."""

    seed: int
    seconds: float
    directory: Path
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    stops: list[Stop] = field(default_factory=list)
    longest_stop_s: float = 0.0
    longest_stop_met: list[str] = field(default_factory=list)
    followed: int = 0
    given_up: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def recoveries(self) -> list[Recovery]:
        """By kind of fault."""
        return recoveries(self.stops)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "faults": sum(self.faults.values()),
            "by_kind": dict(sorted(self.faults.items())),
            "events": self.counts["records"],
            "commits": self.counts["commits"],
            "accounts": self.counts["accounts"],
            "changes": self.counts["changes"],
            "advisories": self.counts["advisories"],
            "dead_letters": self.counts["dead_letters"],
            "followed": self.followed,
            "recovery": {recovery.kind: recovery.plain() for recovery in self.recoveries()},
            "longest_stop_s": round(self.longest_stop_s, 1),
            "longest_stop_met": self.longest_stop_met,
            "happened": [stop.plain() for stop in self.stops],
            "given_up": self.given_up,
            "violations": self.violations,
            **({"directory": str(self.directory)} if self.violations else {}),
        }

    def lines(self) -> Iterator[str]:
        """For a reader."""
        plain = self.plain()
        yield f"seed {self.seed}: {plain['faults']} faults in {self.seconds:.0f} s"
        for kind, times in sorted(self.faults.items()):
            yield f"  {kind:<22}{times:>5}"
        counted = ("events", "commits", "accounts", "changes", "advisories", "dead_letters")
        yield "taken: " + ", ".join(f"{plain[name]:,} {name.replace('_', ' ')}" for name in counted)
        yield f"followed by a second Redis: {self.followed:,} commits"
        if self.recoveries():
            yield "every shard commits again, where a fault met no other (median, longest, so many seen):"
        for one in self.recoveries():
            yield f"  {one.kind:<22}{one.median_s:>6.1f} s {one.longest_s:>6.1f} s {one.seen:>4}  from its {one.since}"
        yield f"longest stop of a shard: {self.longest_stop_s:.1f} s; it met: {', '.join(self.longest_stop_met) or 'nothing'}"
        for told in self.given_up:
            yield f"started again: {told}"
        if self.violations:
            yield f"{len(self.violations)} violations; everything is in {self.directory}; again: --seed {self.seed}"
            yield from (f"  {violation}" for violation in self.violations)
        else:
            yield "no violation"
