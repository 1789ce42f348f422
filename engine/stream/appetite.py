"""The lender's risk appetite for each segment, as the last control records of kind ``appetite`` left it (docs/policy.md §9b).

It outlives a change of the policy: another version says itself what a contraction or expansion is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Self

from engine.core import layout
from engine.core.layout import DAY_MS
from engine.core.tables import SEGMENT, Ints, Ru, Se
from engine.policy.document import Appetite, Policy
from engine.policy.units import date_of


@dataclass(frozen=True, slots=True)
class Switch:
    """The appetite of a segment: since which policy day, by which control record, and how many decreases it is expected to lead to."""

    segment: str
    mode: str
    day: int
    control_id: str
    expected_decreases: int


@dataclass(frozen=True, slots=True)
class Appetites:
    """The newest switch of each segment; a segment without one is neutral."""

    by_segment: Mapping[str, Switch]

    def encode(self) -> bytes:
        """As a field of the shard hash."""
        plain = [asdict(switch) for _, switch in sorted(self.by_segment.items())]
        return json.dumps(plain, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Inverse of ``encode``; nothing is neutral."""
        switches = [Switch(**plain) for plain in json.loads(raw or b"[]")]
        return cls({switch.segment: switch for switch in switches})

    def plain(self) -> list[dict[str, object]]:
        """As JSON tells it, by segment."""
        return [
            {
                "segment": switch.segment,
                "mode": switch.mode,
                "since": date_of(switch.day),
                "control_id": switch.control_id,
                "expected_decreases": switch.expected_decreases,
            }
            for _, switch in sorted(self.by_segment.items())
        ]

    def after(self, switch: Switch) -> Appetites:
        """These with another switch."""
        return Appetites({**self.by_segment, switch.segment: switch})

    def write(self, program: Ints) -> None:
        """Put them in force in a compiled policy's program."""
        for number in layout.Segment:
            switch = self.by_segment.get(number.name.lower())
            place = program[Ru.SEGMENTS] + number * SEGMENT
            program[place + Se.APPETITE] = layout.Appetite[switch.mode.upper()] if switch is not None else layout.Appetite.NEUTRAL
            program[place + Se.APPETITE_DAY] = switch.day if switch is not None else 0


def policy_day(policy: Policy, moment: datetime) -> int:
    """The policy's day of a moment."""
    return (round(moment.timestamp() * 1000) + policy.utc_offset_minutes * 60_000) // DAY_MS


def check_switch(policy: Policy, segment: str, mode: str) -> None:
    """Raise ValueError if a policy has no such segment, or does not say what the mode is there."""
    found = next((each for each in policy.segments if each.name == segment), None)
    if found is None:
        raise ValueError(f"the policy in force, {policy.policy} version {policy.version}, has no segment {segment}")
    if mode != "neutral" and not getattr(found.appetite or Appetite(), mode):
        raise ValueError(
            f"the policy in force, {policy.policy} version {policy.version}, does not say what {mode} is in segment {segment}: "
            f"write its bands under segments.{segment}.appetite.{mode} and promote it first"
        )
