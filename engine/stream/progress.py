"""Where a shard is and what it has done: for the worker's watchdog, the metrics and the log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from engine.state.outputs import NUMBERS
from engine.state.record import JournalRecord
from engine.stream.brakes import Brakes, Counts
from engine.stream.in_force import Version
from engine.stream.stages import Stages
from engine.stream.tally import Tally
from schemas.topics import CHANGES

RELEASE: Final = "find out why so many limits are to fall; then `limit-engine brakes release`"


class State(Enum):
    """Where a shard is."""

    TAKING_OVER = "taking over"
    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(slots=True)
class Progress:
    """What a shard has done since it started here, and where it is.

    ``moved_at`` is the last moment (monotonic) at which it committed, had nothing to do, or ended a wait: a running shard with work to do that
    has not moved for long is stalled.
    """

    log: Any
    state: State = State.TAKING_OVER
    reason: str = ""
    records: int = 0
    changes: int = 0
    dead_letters: int = 0
    commits: int = 0
    journal_bytes: int = 0
    last_commit_at: float = field(default_factory=time.monotonic)
    moved_at: float = field(default_factory=time.monotonic)
    version: Version | None = None  # of the policy in force
    tally: Tally = field(default_factory=Tally)
    stages: Stages = field(default_factory=Stages)
    brakes: Brakes = field(default_factory=lambda: Brakes({}))
    waits_for: str = ""  # what was said to be waited for, until it is over

    def enter(self, state: State, reason: str = "") -> None:
        """Be in a state. What is waited for is said once, and when the waiting is over."""
        self.state, self.reason = state, reason
        if state is State.WAITING and reason != self.waits_for:
            self.log.warning("waiting", reason=reason)
            self.waits_for = reason
        elif state is State.RUNNING and self.waits_for:
            self.log.info("goes on")
            self.waits_for = ""

    def move(self) -> None:
        """There was nothing to do, or a wait has ended."""
        self.moved_at = time.monotonic()

    def note_commit(self, record: JournalRecord, journal_bytes: int) -> None:
        """A record, of so many bytes in the journal before they are compressed, is committed and applied."""
        self.records += record.events
        self.changes += int((record.outputs.topics == NUMBERS[CHANGES.name]).sum())
        self.tally.add(record.outputs.facts, record.counts)
        self.dead_letters += len(record.dead_letters)
        self.commits += 1
        self.journal_bytes += journal_bytes
        self.last_commit_at = self.moved_at = time.monotonic()

    def note_version(self, version: Version) -> None:
        """Say which version of the policy is in force when it is another one than before."""
        if version != self.version:
            self.version = version
            self.log.info("policy in force", policy=str(version))

    def note_brakes(self, brakes: Brakes) -> None:
        """Say when a brake has bitten, and when a breaker was released."""
        for segment, now in brakes.by_segment.items():
            before = self.brakes.by_segment.get(segment, Counts())
            if now.is_told and not before.is_told:
                self.log.warning("budget spent", segment=segment, raised_minor=now.raised_minor)
            if now.is_tripped and not before.is_tripped:
                self.log.error("breaker tripped", segment=segment, evaluated=now.evaluated, lowered=now.lowered, cure=RELEASE)
            elif before.is_tripped and not now.is_tripped:
                self.log.info("breaker released", segment=segment)
        self.brakes = brakes
