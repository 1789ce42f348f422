"""The topics: their names, what is in them, how they are kept.

All have the same number of partitions, and partition p of each belongs to shard p: a record's key is its account, and keys are placed by
Kafka's own partitioner (murmur2).

Some are *evidence*: what a decision, and why it was made, is shown by years later. They are kept for as many months as the policy in force asks
for (``evidence_months``). A month is 31 days here: so no calendar has a month that is longer, and what is asked for is never kept too short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas.advisories import Advisory
from schemas.changes import LimitChange
from schemas.commands import Command
from schemas.control import Control
from schemas.profiles import Profile
from schemas.purchases import Purchase
from schemas.repayments import Repayment
from schemas.transfers import Transfer

FOREVER: Final = -1
JOURNAL_BYTES_MAX: Final = 8 * 1024 * 1024
INPUT_BYTES_MAX: Final = 1024 * 1024
_DAY_MS: Final = 86_400_000
EVIDENCE_MONTH_DAYS: Final = 31
EVIDENCE_MONTHS: Final = 60  # unless the policy says otherwise


def evidence_ms(months: int) -> int:
    """How long evidence of so many months is kept."""
    return months * EVIDENCE_MONTH_DAYS * _DAY_MS


_EVIDENCE_MS: Final = evidence_ms(EVIDENCE_MONTHS)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic: ``model`` of its values (None: not JSON of ours), how it is cleaned up, and the largest message.

    ``retention_ms`` is the default time for which every record is kept; a compacted topic keeps the newest of each key after it, too.
    ``evidence``: see above.
    """

    name: str
    direction: Literal["in", "out", "internal"]
    model: Any
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = FOREVER
    bytes_max: int = INPUT_BYTES_MAX
    evidence: bool = False


CONTROL: Final = TopicSpec("limit-control", "in", Control, evidence=True)
PROFILES: Final = TopicSpec("account-profiles", "in", Profile, cleanup="compact", retention_ms=30 * _DAY_MS)
COMMANDS: Final = TopicSpec("limit-commands", "in", Command, retention_ms=_EVIDENCE_MS, evidence=True)
REPAYMENTS: Final = TopicSpec("repayments", "in", Repayment, retention_ms=30 * _DAY_MS)
TRANSFERS: Final = TopicSpec("transfers", "in", Transfer, retention_ms=30 * _DAY_MS)
PURCHASES: Final = TopicSpec("purchases", "in", Purchase, retention_ms=30 * _DAY_MS)

CHANGES: Final = TopicSpec("limit-changes", "out", LimitChange, retention_ms=_EVIDENCE_MS, evidence=True)
ADVISORIES: Final = TopicSpec("limit-advisories", "out", Advisory, retention_ms=_EVIDENCE_MS, evidence=True)
DEAD_LETTERS: Final = TopicSpec("dead-letters", "out", None, retention_ms=90 * _DAY_MS, bytes_max=INPUT_BYTES_MAX + 64 * 1024)
JOURNAL: Final = TopicSpec("limit-journal", "internal", None, retention_ms=30 * _DAY_MS, bytes_max=JOURNAL_BYTES_MAX + 64 * 1024)

# In the order in which records of one record time are taken: what is in force, what is known, what is asked for, what happened.
INPUTS: Final = (CONTROL, PROFILES, COMMANDS, REPAYMENTS, TRANSFERS, PURCHASES)
OUTPUTS: Final = (CHANGES, ADVISORIES, DEAD_LETTERS)
TOPICS: Final = (*INPUTS, *OUTPUTS, JOURNAL)
EVIDENCE: Final = tuple(topic for topic in TOPICS if topic.evidence)
