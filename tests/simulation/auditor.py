"""The auditor: what the topics and the store must say, from the committed records alone.

It follows each commit when it is decided and each write to the store when it is made, and in the end folds the inputs itself.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final, NamedTuple

from engine.core.layout import Topic
from engine.state import keys
from engine.state.outputs import OutputRef
from engine.state.record import JournalRecord
from engine.stream.records import Chunk, Headers
from schemas import dead_letters as names
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, INPUTS, JOURNAL
from tests.e2e.audit import audit_shard
from tests.simulation.broker import Broker, Entry, Transaction
from tests.simulation.promises import Violation, demand
from tests.simulation.traffic import policies

ANNOUNCED: Final = (CHANGES.name, ADVISORIES.name)
ADDED: Final = "ce_time"  # the header that the producer adds when it sends


class Lost(NamedTuple):
    """A record that is committed, and has no end in the journal; and where it was written, each time in vain."""

    record: JournalRecord
    value: bytes
    offsets: tuple[int, ...]


class Auditor:
    """Of one shard."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.journal: list[tuple[JournalRecord, bytes, int]] = []  # committed: record, bytes, offset
        self._accounts: list[dict[bytes, bytes]] = [{}]  # after each sequence
        self._lost: dict[int, Lost] = {}  # by sequence
        self._seen: dict[int, bytes] = {}  # those of them that the store has applied: no other one may come in their place

    def follow(self, transaction: Transaction) -> None:
        """A transaction is committed. One that nothing was written in is none: a request to add partitions that comes late begins it, and the
        commit of the one before, which was answered by an error and asked for again, ends it."""
        written = {topic: [e for e in log.entries if e.transaction is transaction] for topic, log in self._broker.logs.items()}
        if not any(written.values()):
            return
        mine = written.get(JOURNAL.name, [])
        if not mine:  # outputs that were written again: in the end each must be there once
            return
        demand(len(mine) == 1, f"a transaction with {len(mine)} journal records")
        record, value, _ = decoded(mine[0])
        demand(self._seen.pop(record.sequence, value) == value, "the store has applied another record")
        before = self.journal[-1][2] if self.journal else -1
        demand(mine[0].offset > before, "a journal record behind one that was committed later")
        demand(record.sequence == len(self.journal) + 1, f"sequence {record.sequence} follows {len(self.journal)}")
        self.journal.append((record, value, mine[0].offset))
        self._accounts.append(self._after(record))

    def lose(self, transaction: Transaction) -> None:
        """A transaction is committed, and has no end in the journal."""
        for entry in self._broker.log(JOURNAL.name).entries:
            if entry.transaction is transaction and not entry.is_marker:
                record, value, offset = decoded(entry)
                before = self._lost.get(record.sequence)
                offsets = before.offsets if before is not None and before.value == value else ()
                self._lost[record.sequence] = Lost(record, value, (*offsets, offset))

    def put_back(self, applied: int) -> None:
        """The store is as it was when it had applied a sequence."""
        self._seen = {sequence: value for sequence, value in self._seen.items() if sequence <= applied}

    def _after(self, record: JournalRecord) -> dict[bytes, bytes]:
        """The accounts behind the record that comes next."""
        after = dict(self._accounts[-1])
        for account, state in record.accounts:
            if state is None:
                after.pop(account, None)
            else:
                after[account] = state
        return after

    def look_at_store(self, fields: dict[str, bytes], accounts: dict[bytes, bytes]) -> None:
        """The store holds a prefix of the journal, or of what the journal will have."""
        applied = int(fields.get(keys.SEQUENCE, b"0"))
        is_lost = applied == len(self.journal) + 1 and applied in self._lost
        demand(is_lost or applied <= len(self.journal), f"the store has applied sequence {applied} of {len(self.journal)}")
        expected = self._after(self._lost[applied].record) if is_lost else self._accounts[applied]
        demand(accounts == expected, f"the store is not what the journal says at sequence {applied}")
        if applied:
            offsets = list(self._lost[applied].offsets) if applied in self._lost else []
            if is_lost:
                record, self._seen[applied], _ = self._lost[applied]
            else:
                record, _, offset = self.journal[applied - 1]
                offsets.append(offset)
            demand(int(fields[keys.JOURNAL_OFFSET]) in offsets, "the store names another offset of the journal")
            for cut in record.cuts:
                demand(fields[keys.next_offset(cut.topic)] == b"%d" % cut.next, "the store names another offset of an input")

    def needs(self, applied: int) -> bool:
        """Whether the journal still has all that a store lacks that has applied so much."""
        begins = self._broker.log(JOURNAL.name).begins
        return applied >= len(self.journal) or self.journal[applied][2] >= begins

    def owed_from(self) -> int:
        """From which offset on the journal says what is still to be written again: no retention is so short (docs/reliability.md, section 5)."""
        owed = [lost.offsets[0] for sequence, lost in self._lost.items() if sequence > len(self.journal)]
        if self.journal and not self._is_told():
            owed.append(self.journal[-1][2])
        return min(owed, default=self._broker.log(JOURNAL.name).end)

    def _is_told(self) -> bool:
        """Whether all that the journal says is there to be read."""
        said = Counter(ref.topic for record, _, _ in self.journal for ref in record.output_refs)
        said[DEAD_LETTERS.name] = sum(len(record.dead_letters) for record, _, _ in self.journal)
        return all(len(self._committed(topic)) == count for topic, count in said.items())

    def can_tell(self, applied: int) -> bool:
        """Whether the topics say whether a store lacks something that has applied so much, or that a late call has brought further from there: by
        a record that the journal still has, or by what was announced in those that it has no more."""
        begins = self._broker.log(JOURNAL.name).begins
        lacks = [self.journal[place:] for place in range(applied, len(self.journal))]
        return all(
            missed[-1][2] >= begins or any(ref.topic in ANNOUNCED for record, _, _ in missed for ref in record.output_refs)
            for missed in lacks
        )

    def taken(self, topic: str) -> int:
        """Up to which offset an input is taken."""
        return max((cut.next for record, _, _ in self.journal for cut in record.cuts if cut.topic == topic), default=0)

    def conclude(self, fields: dict[str, bytes], accounts: dict[bytes, bytes]) -> dict[str, int]:
        """Everything is taken and applied: check it all."""
        demand(int(fields[keys.SEQUENCE]) == len(self.journal), "the store did not catch up")
        self._lost.clear()
        self.look_at_store(fields, accounts)
        self._outputs()
        changes = [json.loads(entry.value or b"") for entry in self._committed(CHANGES.name)]
        inputs = {Topic(rank): self._chunk(spec.name, Topic(rank)) for rank, spec in enumerate(INPUTS)}
        control = [json.loads(value or b"") for value in inputs[Topic.CONTROL].values]
        version = [plain["policy"]["version"] for plain in control if plain["kind"] == "activate"][-1]
        journal = [raw for _, raw, _ in self.journal]
        try:
            counts = audit_shard(policies()[version - 1], inputs, journal, changes, accounts, 0, 1)
        except (KeyError, ValueError) as error:
            raise Violation("the journal cannot be followed") from error
        swept = sum(dict(record.counts).get("swept", 0) for record, _, _ in self.journal)
        return counts | {"swept": swept, "versions": len({record.policy_hash for record, _, _ in self.journal} - {""})}

    def _outputs(self) -> None:
        """What was announced is what the journal says, each once and in order."""
        for spec in (CHANGES, ADVISORIES):
            said = [ref for record, _, _ in self.journal for ref in record.output_refs if ref.topic == spec.name]
            told = [OutputRef.of(spec.name, e.key, e.value, without_time(e.headers)) for e in self._committed(spec.name)]
            demand(said == told, f"{spec.name} does not say what the journal says")
        refs = [(ref.topic, ref.offset) for record, _, _ in self.journal for ref in record.dead_letters]
        letters = []
        for entry in self._committed(DEAD_LETTERS.name):
            headers = dict(entry.headers)
            topic, offset = (headers[name] or b"" for name in (names.TOPIC, names.OFFSET))
            came = self._broker.log(topic.decode()).entries[int(offset)]
            demand((entry.key, entry.value) == (came.key, came.value), "a dead letter is not what came")
            letters.append((topic.decode(), int(offset)))
        demand(refs == letters, "the dead letters are not those that the journal names")

    def _committed(self, topic: str) -> list[Entry]:
        log = self._broker.log(topic)
        return list(log.committed(0, log.stable))

    def _chunk(self, name: str, topic: Topic) -> Chunk:
        entries = self._committed(name)
        return Chunk.of(
            topic, [e.offset for e in entries], [e.time_ms for e in entries], [e.key for e in entries], [e.value for e in entries], None
        )


def decoded(entry: Entry) -> tuple[JournalRecord, bytes, int]:
    """A record of the journal, its bytes, and its offset."""
    assert entry.value is not None
    return JournalRecord.decode(entry.value), entry.value, entry.offset


def without_time(headers: Headers) -> tuple[tuple[str, Any], ...]:
    """Headers but for the time of sending."""
    return tuple((name, value) for name, value in headers if name != ADDED)
