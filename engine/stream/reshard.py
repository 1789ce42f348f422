"""The same accounts and standings in more partitions, while no worker works.

Theory of operation. Kafka can add partitions to a topic and moves no record, and a key's partition is murmur2(key) modulo their number. So every
input must be taken first. Then the topics grow, and **one Kafka transaction** writes to the journal of every shard of the new layout a beginning,
with what is in force and what was counted, and behind it the accounts that now belong there, as they are. Either all shards are in the new layout
or none is. Redis then only follows the journal, by this command or by whoever comes next: a beginning voids what a shard had before.

Killed before the commit, nothing has changed but the number of partitions, which a worker refuses to work on; this is run again. Killed after it,
everything has. An account's sequence goes on, and so do journal and outputs of the shards that there were; new ones begin with 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aiokafka import TopicPartition

from engine.errors import EngineError
from engine.settings import Kafka
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.states import States
from engine.state.store import applied_of
from engine.stream import topics
from engine.stream.brakes import Brakes, Counts, share
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.in_force import disagreement, status_of
from engine.stream.journal import bounds, messages, started
from engine.stream.rebuild import beginning
from engine.stream.sweep import Sweep
from schemas.topics import INPUTS

TAKE_FIRST: Final = "stop the producers, let the workers take what is there (`limit-engine run`), stop them, then run this again"

Account = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Resharded:
    """From how many partitions to how many, and how many accounts moved and stayed. ``was_done``: by a run before."""

    before: int
    after: int
    moved: int = 0
    stayed: int = 0
    was_done: bool = False


async def check_taken(clients: Clients, shards: Sequence[Mapping[str, bytes]]) -> None:
    """That every input was taken. Raises EngineError, KafkaError, TimeoutError."""
    async with started(clients.journal_reader(), CONNECT_DEADLINE_S) as consumer:
        for shard, fields in enumerate(shards):
            for spec in INPUTS:
                place = TopicPartition(spec.name, shard)
                consumer.assign([place])
                begins, end = await bounds(consumer, place, CONNECT_DEADLINE_S)
                first = int(fields.get(keys.next_offset(spec.name), b"%d" % begins))
                async for message in messages(consumer, place, max(first, begins), end, CONNECT_DEADLINE_S):
                    what = f"{spec.name} has records that were not taken yet, from offset {message.offset} on"
                    raise EngineError(what, where=f"shard {shard}", cure=TAKE_FIRST)


def check_fit(shards: Sequence[Mapping[str, bytes]], before: int, after: int) -> None:
    """That shards can be brought to another layout. Raises EngineError."""
    if after <= before:
        what = f"there are {before} partitions, and Kafka cannot take any away"
        raise EngineError(what, where="--partitions", cure=f"give a number above {before}")
    for shard, fields in enumerate(shards):
        if fields.get(keys.UNFINISHED):
            raise EngineError(
                f"`{fields[keys.UNFINISHED].decode()}` is not done with it", where=f"shard {shard}", cure="run that again first"
            )
    differing = disagreement([status_of(shard, fields) for shard, fields in enumerate(shards)])
    if differing is not None:
        raise EngineError(differing, where="shards", cure=TAKE_FIRST)


def grow(kafka: Kafka, before: int, after: int) -> None:
    """Give every topic that has not so many partitions yet so many. Raises EngineError, KafkaError."""
    admin = topics.connect(kafka)
    try:
        states = topics.describe(admin)
        odd = [state.name for state in states if state.partitions not in (before, after)]
        if odd:
            what = f"{', '.join(odd)}: neither {before} nor {after} partitions"
            raise EngineError(
                what, where="topics", cure="`limit-engine topics describe` tells; give the number that some of them have already"
            )
        few = {state.name: after for state in states if state.partitions == before}
        if few:
            admin.create_partitions(few)
    finally:
        admin.close()


class Layout:
    """The shards of a layout of ``after`` partitions, made from those before it: their fields, and their records as accounts come in."""

    def __init__(self, application: str, before: Sequence[Mapping[str, bytes]], after: int) -> None:
        self.after = after
        self._application = application
        self._before = before
        self._tick_ms = max(int(fields.get(keys.TICK_MS, b"0")) for fields in before)
        self._sequences = [applied_of(self._held(shard)) for shard in range(after)]

    def _held(self, shard: int) -> Mapping[str, bytes]:
        return self._before[shard] if shard < len(self._before) else {}

    def sequence(self, shard: int) -> int:
        """Of a shard's last record so far."""
        return self._sequences[shard]

    def first(self, shard: int) -> JournalRecord:
        """The beginning of a shard."""
        held = self._held(shard)
        told = {
            keys.BEGINNING: keys.BY_RESHARD + b" --partitions %d (before: %d)" % (self.after, len(self._before)),
            keys.PARTITIONS: b"%d" % self.after,
            keys.OUTPUTS: held.get(keys.OUTPUTS, b"0"),
            **{
                name: value
                for name, value in self._before[0].items()
                if name in (keys.POLICY, keys.APPETITES) or name.startswith("topic_id:")
            },
            **{name: value for name, value in held.items() if name.startswith(("next:", "clock:"))},
        }
        sweep, brakes = self._sweep(), self._brakes(shard)
        if sweep is not None:
            told[keys.SWEEP] = sweep.encode()
        if brakes.by_segment:
            told[keys.BRAKES] = brakes.encode()
        return self._begun(shard, told)

    def more(self, shard: int, accounts: Sequence[Account]) -> JournalRecord:
        """The next record of a shard: some of its accounts."""
        return replace(self._begun(shard, {}), accounts=States.of(sorted(accounts)))

    def _begun(self, shard: int, fields: Mapping[str, bytes]) -> JournalRecord:
        """The next record of a shard, with these fields."""
        self._sequences[shard] += 1
        return beginning(self._application, shard, self._sequences[shard], self._tick_of(shard), fields)

    def _tick_of(self, shard: int) -> int:
        """The tick of a shard of the new layout: accounts come from any."""
        return self._tick_ms

    def _sweep(self) -> Sweep | None:
        """The newest sweep; where one of that day or cause was not done, all accounts are gone through again."""
        found = [Sweep.decode(fields[keys.SWEEP]) for fields in self._before if keys.SWEEP in fields]
        if not found:
            return None
        newest = max(found, key=lambda sweep: (sweep.day, sweep.offset or -1))
        is_done = all(sweep.left == 0 and sweep.day == newest.day for sweep in found)
        begun = Sweep(newest.day).begun(newest.day, newest.cause, newest.offset)
        return replace(begun, left=0, unfollowed=0) if is_done else replace(begun, unfollowed=max(sweep.unfollowed for sweep in found))

    def _brakes(self, shard: int) -> Brakes:
        """A share of what all shards have counted on the newest day; what has bitten anywhere has bitten."""
        found = [Brakes.decode(fields.get(keys.BRAKES, b"")).by_segment for fields in self._before]
        told = {}
        for segment in sorted(set().union(*found)):
            counts = [mine[segment] for mine in found if segment in mine]
            day = max(each.day for each in counts)
            today = [each for each in counts if each.day == day]

            def mine(numbers: Sequence[int]) -> int:
                return share(sum(numbers), shard, self.after)

            told[segment] = Counts(
                day,
                mine([each.raised_minor for each in today]),
                mine([each.evaluated for each in today]),
                mine([each.lowered for each in today]),
                any(each.is_told for each in today),
                any(each.is_tripped for each in counts),
                mine([each.expected_decreases for each in counts]),
            )
        return Brakes(told)
