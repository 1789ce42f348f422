"""One turn of a shard: from a batch of records to the journal record that says everything it did.

Theory of operation. ``DecisionMachine`` is the shard's memory and judgement, without I/O, clock or randomness: ``prepare`` decodes a batch and
names the accounts whose state must be loaded, ``admit`` takes their states in, ``execute`` runs the kernel over the merged events, renders
what was decided and encodes the touched accounts. The same batches, ticks and policy therefore give the same journal records, byte for
byte: the live shard, the offline ``decide`` and the audit's replay are this one class. The wish to forget an account whose line is open is
the one record that is rejected only here: whether it is open is known when its turn comes.

A control record is the first of its batch and alone in it (``engine.stream.alignment``): what the other records mean depends on the policy
that it puts in force. Between the batches ``sweep`` lets time go by for accounts that have no records (``engine.stream.sweep``). ``restore``
puts the machine back to what the store says; after any doubt that is the only way on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from pydantic_core import from_json

from engine import __version__
from engine.core.decide import run
from engine.core.decide import sweep as sweep_rows
from engine.core.fingerprint import FingerprintKey
from engine.core.layout import EVENT_COLUMNS, FIGURES, MISSING, Col, Ev, Out, Topic, Verdict
from engine.core.packed import Packed
from engine.core.tables import FACTS, Ints
from engine.policy.compile import CompiledPolicy, compile_policy
from engine.policy.document import Policy
from engine.policy.errors import PolicyErrors
from engine.policy.promote import canonical_bytes, policy_hash
from engine.policy.source import from_plain
from engine.state import keys
from engine.state.account_rows import AccountRows
from engine.state.cache import AccountCache, Room
from engine.state.outputs import NO_OUTPUTS, Outputs
from engine.state.record import DeadLetterRef, InputCut, JournalRecord
from engine.state.states import NO_STATES, States
from engine.state.store import applied_of
from engine.stream.appetite import Appetites, Switch, check_switch, policy_day
from engine.stream.brakes import Brakes, check_breaker, share
from engine.stream.decode.decoder import Decoded, Decoder, Reject, decode_control
from engine.stream.records import Batch, Chunk
from engine.stream.render import Causes, Renderer, causes_of_tick
from engine.stream.rolls import SWEPT, rolls, swept
from engine.stream.stages import Stage, Stages
from engine.stream.sweep import Sweep, sweep_at
from schemas.control import Activate, Appetite, ReleaseBreaker
from schemas.topics import INPUTS, JOURNAL_BYTES_MAX

DECISIONS_AT_ONCE: Final = 1024
WRITTEN_BYTES_TARGET: Final = 6_000_000  # of a journal record
OUTPUTS_LIGHTER: Final = 2  # outputs, which are spread over batches of Kafka's, may be so many times as much
RECORD_BYTES_MAX: Final = JOURNAL_BYTES_MAX - 4_096
ACCOUNTS_MAX: Final = 6_000
SWEPT_AT_ONCE: Final = 256
Origin = Callable[[Ints], tuple[Ints, Ints]]
LINE_OPEN: Final = "the account's line is open: close it first (by a profile of status closed or the command close), then wish again"


@dataclass(frozen=True, slots=True)
class InForce:
    """The control record that put a policy or an appetite in force, or released a breaker, and the fields of the shard hash that say what is in
    force. Accounts are looked at anew behind it."""

    control_id: str
    offset: int
    fields: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded batch. ``slots`` (n,) ascending are the cache's rows of the accounts of its accepted records, ``missing`` the accounts to load
    before ``execute``."""

    batch: Batch
    decoded: dict[Topic, Decoded]
    slots: Ints
    missing: Packed
    rejects: dict[Topic, list[Reject]]
    control: InForce | None


class DecisionMachine:
    """One shard's machine. ``room`` bounds its memory; a batch never holds more accounts than ``accounts_per_batch``, and should not hold more
    records than ``records_per_batch``."""

    def __init__(self, application: str, shard: int, partitions: int, key: FingerprintKey, room: Room) -> None:
        self.shard = shard
        self.policy: CompiledPolicy | None = None  # in force; without one only control records can be taken
        self.topic_ids: Mapping[str, str] = {}  # of the input topics, told to the journal by the shard's first record
        self._application = application
        self._partitions = partitions
        self._key = key
        self._room = room
        self._sequence = 0
        self._outputs = 0
        self._decoder: Decoder | None = None
        self._cache: AccountCache | None = None
        self._renderer: Renderer | None = None
        self._sweep: Sweep | None = None
        self._appetites = Appetites({})
        self._brakes = Brakes({})  # as the last record left them; the program goes ahead of them while the next one is made
        # Sequence, outputs, sweep and brakes before the last record
        self._before: tuple[int, int, Sweep | None, Brakes] = 0, 0, None, self._brakes
        self._swept: AccountRows | None = None  # for a sweep; the accounts of the events keep theirs
        self.stages = Stages()  # for the profile alone
        self._bytes_per_record = (
            1_000.0  # what an input record adds to the journal, or half of what to the outputs: rises at once, falls slowly
        )

    @property
    def accounts_per_batch(self) -> int:
        """How many accounts a batch may touch."""
        return min(ACCOUNTS_MAX, self._room.accounts)

    @property
    def records_per_batch(self) -> int:
        """How many records a batch may have so that what it writes stays near 6 MB in the journal and 12 in the outputs, as far as the last ones
        tell."""
        return max(1, int(WRITTEN_BYTES_TARGET / self._bytes_per_record))

    @property
    def brakes(self) -> Brakes:
        """What the last record made or restored left counted for the portfolio's brakes."""
        return self._brakes

    @property
    def sequence(self) -> int:
        """Of the last record made or restored."""
        return self._sequence

    def sweep_at(self, tick_ms: int) -> Sweep | None:
        """How far the sweep is that goes on, or begins, at a tick; None if there is nothing to sweep."""
        found = sweep_at(self._sweep, self.policy.document, tick_ms) if self.policy is not None else None
        return found if found is not None and found.left else None

    @property
    def follows_control(self) -> bool:
        """Whether accounts have not been looked at yet behind a policy or an appetite."""
        return self._sweep is not None and self._sweep.unfollowed > 0

    def restore(self, fields: Mapping[str, bytes]) -> None:
        """Begin again from the shard hash (``engine.state.keys``); every cached account is forgotten."""
        self._sequence = applied_of(fields)
        self._outputs = int(fields.get(keys.OUTPUTS, b"0"))
        self._sweep = Sweep.decode(fields[keys.SWEEP]) if keys.SWEEP in fields else None
        self._appetites = Appetites.decode(fields.get(keys.APPETITES, b""))
        self._brakes = Brakes.decode(fields.get(keys.BRAKES, b""))
        document = fields.get(keys.POLICY)
        if document is None:
            self.policy = self._decoder = self._cache = self._renderer = self._swept = None
            return
        policy = Policy.from_plain(json.loads(document))
        if self.policy is None or self.policy.hash != policy_hash(policy):
            self._enforce(policy, self._brakes)
        elif self._cache is not None:
            self._cache.forget()
            self._appetites.write(self.policy.program)
            self._set_brakes(self._brakes)

    def prepare(self, batch: Batch) -> Prepared:
        """Decode a batch; a control record in it is in force from here on."""
        if Topic.CONTROL in batch.chunks:
            control, refused = self._take_control(batch.chunks[Topic.CONTROL])
            return Prepared(batch, {}, np.zeros(0, np.int64), Packed.empty(0), {Topic.CONTROL: refused}, control)
        assert self._decoder is not None, "only control records may come before a policy"
        assert self._cache is not None
        with self.stages(Stage.DECODE):
            decoded = {topic: self._decoder.decode(chunk) for topic, chunk in sorted(batch.chunks.items())}
        with self.stages(Stage.ADMIT):
            self._cache.begin()
            for topic, part in decoded.items():
                part.columns[Ev.SLOT] = self._cache.take(batch.chunks[topic].keys, part.accepted)
            self._cache.recall()
        rejects = {topic: part.rejects for topic, part in decoded.items()}
        return Prepared(batch, decoded, self._cache.taken(), self._cache.missing(), rejects, control=None)

    def admit(self, values: Packed) -> None:
        """Take the loaded states of the missing accounts into the cache; one that is absent is an account without history. Raises
        StateFormatError."""
        assert self._cache is not None
        with self.stages(Stage.ADMIT):
            self._cache.admit(values)

    def execute(self, prepared: Prepared, tick_ms: int) -> JournalRecord:
        """Decide the batch. Every account of ``prepared.missing`` must have been admitted since ``prepare``."""
        batch = prepared.batch
        record = self._record(tick_ms, batch)
        fields = dict(record.fields)
        if prepared.control is not None:
            fields |= self._in_force_from(prepared.control)
        if not prepared.decoded:
            return replace(record, fields=self._with_counts(fields, NO_OUTPUTS), dead_letters=dead_letter_refs(prepared))
        accounts, outputs, counts, open_lines = self._decide(prepared)
        return replace(
            record,
            accounts=accounts,
            fields=self._with_counts(fields, outputs),
            outputs=outputs,
            dead_letters=dead_letter_refs(prepared, open_lines),
            counts=tuple(sorted(counts.items())),
        )

    def sweep(self, accounts: States, buckets: int, after: bytes, tick_ms: int) -> JournalRecord:
        """Let time go by up to a tick for the next accounts and states of the sweep (``sweep_at``), which is then ``buckets`` buckets and, of the
        next one, the ids up to ``after`` further. Raises StateFormatError."""
        now = self.sweep_at(tick_ms)
        assert now is not None, "there is nothing to sweep"
        assert self.policy is not None
        decisions = np.zeros((DECISIONS_AT_ONCE, self.policy.decision_columns), np.int64)
        record = self._record(tick_ms, None)
        self._sweep = now.moved(buckets, after)
        changed: list[tuple[bytes, bytes | None]] = []
        said: list[Outputs] = []
        counts = Counter({SWEPT: len(accounts)})
        for first in range(0, len(accounts), SWEPT_AT_ONCE):
            self._let_time_pass(accounts[first : first + SWEPT_AT_ONCE], now, tick_ms, decisions, changed, said, counts)
        outputs = Outputs.joined(said)
        fields = {**dict(record.fields), keys.SWEEP: self._sweep.encode()}
        return replace(
            record,
            accounts=States.of(sorted(changed)),
            fields=self._with_counts(fields, outputs),
            outputs=outputs,
            counts=tuple(sorted(counts.items())),
        )

    def _record(self, tick_ms: int, batch: Batch | None) -> JournalRecord:
        """The next record as far as its inputs and its tick make it. A day that the tick reaches begins a sweep."""
        self._before = self._sequence, self._outputs, self._sweep, self._brakes
        fields = {}
        if self._sequence == 0:
            fields[keys.PARTITIONS] = b"%d" % self._partitions
            fields |= {keys.topic_id(name): own_id.encode() for name, own_id in self.topic_ids.items()}
        if self.policy is not None:
            before, self._sweep = self._sweep, sweep_at(self._sweep, self.policy.document, tick_ms)
            if self._sweep is not None and self._sweep != before:
                fields[keys.SWEEP] = self._sweep.encode()
        self._sequence += 1
        return JournalRecord(
            application=self._application,
            shard=self.shard,
            sequence=self._sequence,
            engine_version=__version__,
            policy_hash=self.policy.hash if self.policy is not None else "",
            tick_ms=tick_ms,
            events=len(batch) if batch is not None else 0,
            cuts=tuple(InputCut(INPUTS[topic].name, *cut) for topic, cut in sorted(batch.cuts.items())) if batch is not None else (),
            accounts=NO_STATES,
            fields=tuple(sorted(fields.items())),
            outputs=NO_OUTPUTS,
            dead_letters=(),
            counts=(),
        )

    def _in_force_from(self, control: InForce) -> dict[str, bytes]:
        """The fields that say what is in force, and that a sweep begins: unless it is the first policy, which finds no accounts."""
        fields = dict(control.fields)
        if self._sweep is not None:
            self._sweep = self._sweep.begun(self._sweep.day, control.control_id, control.offset)
            fields[keys.SWEEP] = self._sweep.encode()
        return fields

    def _with_counts(self, fields: dict[str, bytes], outputs: Outputs) -> tuple[tuple[str, bytes], ...]:
        """A record's fields with the number of outputs after these, and with what was counted for the brakes."""
        self._outputs += len(outputs)
        if len(outputs):
            fields[keys.OUTPUTS] = b"%d" % self._outputs
        brakes = Brakes.read(self.policy.program, self.policy.document) if self.policy is not None else self._brakes
        if brakes != self._brakes:
            self._brakes = brakes
            fields[keys.BRAKES] = brakes.encode()
        return tuple(sorted(fields.items()))

    def fits(self, record: JournalRecord, size: int) -> bool:
        """Learn from a record made, which has ``size`` bytes. False if it is too large to be committed: then ``take_back``, and take fewer."""
        if record.events:
            now = max(size, record.outputs.values.size() // OUTPUTS_LIGHTER) / record.events
            self._bytes_per_record = max(now, self._bytes_per_record + (now - self._bytes_per_record) / 4)
        return size <= RECORD_BYTES_MAX

    def take_back(self) -> None:
        """Be as before the record that was made last. Not for one with a control record."""
        assert self._cache is not None
        self._sequence, self._outputs, self._sweep, self._brakes = self._before
        self._cache.forget()
        self._set_brakes(self._brakes)

    # Control

    def _enforce(self, policy: Policy, brakes: Brakes) -> None:
        """Put a policy in force, with what was counted for its brakes. The cached rows have the old policy's shape, so they go."""
        self.policy = compile_policy(policy, self._key)
        self._appetites.write(self.policy.program)
        self._set_brakes(brakes)
        self._decoder = Decoder(self.policy.decode, self._key, self.shard, self._partitions)
        self._cache = AccountCache(self.policy, self._room)
        self._swept = AccountRows(self.policy, SWEPT_AT_ONCE)
        self._renderer = Renderer(self.policy, self._application, self.shard)

    def _take_control(self, chunk: Chunk) -> tuple[InForce | None, list[Reject]]:
        """What has been put in force, and the rejects."""
        controls, rejects = decode_control(chunk)
        taken: InForce | None = None
        for index, control in controls:
            try:
                match control:
                    case Activate():
                        policy = activated_policy(control)
                        self._enforce(policy, self._brakes.under(policy))
                        told = {keys.POLICY: canonical_bytes(policy)}
                    case Appetite():
                        self._switch(control)
                        told = {keys.APPETITES: self._appetites.encode()}
                    case ReleaseBreaker():
                        if not self._release(control):
                            continue
                        told = {}
                taken = InForce(control.control_id, int(chunk.offsets[index]), told)
            except (PolicyErrors, ValueError) as error:
                rejects.append(Reject(index, "invalid", str(error)))
        return taken, sorted(rejects, key=lambda reject: reject.index)

    def _switch(self, appetite: Appetite) -> None:
        """Put an appetite in force. Raises ValueError if the policy does not know it."""
        if self.policy is None:
            raise ValueError("no policy is in force yet that says what an appetite is: promote one first")
        program, policy = self.policy.program, self.policy.document
        check_switch(policy, appetite.segment, appetite.mode)
        day = policy_day(policy, appetite.issued_at)
        self._appetites = self._appetites.after(
            Switch(appetite.segment, appetite.mode, day, appetite.control_id, appetite.expected_decreases)
        )
        self._appetites.write(program)
        expected = share(appetite.expected_decreases, self.shard, self._partitions)
        self._set_brakes(Brakes.read(program, policy).expecting(appetite.segment, expected))

    def _release(self, release: ReleaseBreaker) -> bool:
        """Release the breakers that are tripped; whether there was one. Raises ValueError if the policy has none where it should be."""
        if self.policy is None:
            raise ValueError("no policy is in force yet that has a breaker: promote one first")
        check_breaker(self.policy.document, release.segment)
        now = Brakes.read(self.policy.program, self.policy.document)
        released = now.released(release.segment)
        self._set_brakes(released)
        return released != now

    def _set_brakes(self, brakes: Brakes) -> None:
        """Let the kernel count on from here."""
        assert self.policy is not None
        brakes.write(self.policy.program, self.policy.document, self.shard, self._partitions)

    # Events

    def _decide(self, prepared: Prepared) -> tuple[States, Outputs, Counter[str], list[int]]:
        """The touched accounts' new states, the outputs, how many accepted records had each verdict and how many accounts have rolled, and the
        places in the profiles' chunk of those that ask to forget an open line."""
        policy, cache = self.policy, self._cache
        assert policy is not None
        assert cache is not None
        assert self._renderer is not None
        slots = prepared.slots
        buckets = cache.rows[slots, Col.BUCKET]
        events, order, origin = self._events(prepared)
        profiles = prepared.decoded[Topic.PROFILE].profiles if Topic.PROFILE in prepared.decoded else np.zeros((0, FIGURES), np.int64)
        decisions = np.zeros((DECISIONS_AT_ONCE, policy.decision_columns), np.int64)
        verdicts = np.full(events.shape[1], -1, np.int64)
        facts = np.zeros(FACTS, np.int64)
        said: list[Outputs] = []
        place = told = 0
        while place < len(order):
            with self.stages(Stage.DECIDE):
                place, count = run(policy.program, cache.rows, events, order, profiles, place, decisions, verdicts, facts)
            with self.stages(Stage.RENDER):
                accounts, causes = about(prepared.batch.chunks, events, decisions[:count, Out.EVENT], origin)
                said.append(self._renderer.render(decisions[:count], accounts, causes, self._outputs + told + 1))
                told += count
        changed = (verdicts == Verdict.ACCEPTED) | (verdicts == Verdict.NO_PROFILE) | (verdicts == Verdict.FORGOTTEN)
        with self.stages(Stage.ENCODE):
            states = cache.written(np.unique(events[Ev.SLOT, changed]))
        open_lines = origin(np.flatnonzero(verdicts == Verdict.LINE_OPEN))[1].tolist()
        counts = Counter({verdict.name.lower(): int(np.count_nonzero(verdicts == verdict)) for verdict in Verdict})
        rolled = np.flatnonzero(cache.rows[slots, Col.BUCKET] != buckets)
        counts.update(rolls(policy.program, cache.rows, slots[rolled], buckets[rolled]))
        return states, Outputs.joined(said), counts, open_lines

    def _let_time_pass(
        self,
        accounts: States,
        sweep: Sweep,
        tick_ms: int,
        decisions: Ints,
        changed: list[tuple[bytes, bytes | None]],
        said: list[Outputs],
        counts: Counter[str],
    ) -> None:
        """Judge accounts at a tick; those that something is said about, or that have rolled to another arrears bucket, are added to ``changed``,
        what is said to ``said``, where they stand to ``counts``. ``decisions`` is scratch."""
        policy, cache, rows = self.policy, self._cache, self._swept
        assert policy is not None
        assert cache is not None
        assert rows is not None
        assert self._renderer is not None
        slots = np.arange(len(accounts))
        rows.read(slots, accounts.ids, accounts.values)
        buckets = rows.rows[slots, Col.BUCKET]
        facts = np.zeros(FACTS, np.int64)
        told: set[int] = set()
        place = 0
        while place < len(slots):
            place, count = sweep_rows(policy.program, rows.rows, slots, place, tick_ms, facts, decisions)
            of = decisions[:count, Out.EVENT]
            told.update(of.tolist())
            if count:
                number = self._outputs + sum(map(len, said)) + 1
                said.append(self._renderer.render(decisions[:count], accounts.ids.at(of), causes_of_tick(sweep, tick_ms, count), number))
        rolled = np.flatnonzero(rows.rows[slots, Col.BUCKET] != buckets)
        counts.update(rolls(policy.program, rows.rows, slots[rolled], buckets[rolled]))
        counts.update(swept(policy.program, rows.rows, slots))
        places = np.array(sorted(told.union(rolled.tolist())), np.int64)
        ids = accounts.ids.at(places)
        states = rows.encoded(slots[places])
        changed += zip(ids.present(), states, strict=True)
        cache.renew(ids, states)

    @staticmethod
    def _events(prepared: Prepared) -> tuple[Ints, Ints, Origin]:
        """The batch's events (EVENT_COLUMNS, n) topic by topic, the accepted ones' places in merged order, and a function that gives of places
        (k,) the topics (k,) and the index of each in its chunk (k,)."""
        batch = prepared.batch
        base = np.zeros(len(Topic), np.int64)
        parts, n = [np.zeros((EVENT_COLUMNS, 0), np.int64)], 0
        for topic, part in prepared.decoded.items():
            base[topic] = n
            n += part.columns.shape[1]
            parts.append(part.columns)
        events = np.concatenate(parts, axis=1)
        accepted = np.concatenate([np.zeros(0, np.bool_), *(part.accepted for part in prepared.decoded.values())])
        places = base[batch.order_topic] + batch.order_index
        events[Ev.CLOCK, places] = batch.clock_ms

        def origin(places: Ints) -> tuple[Ints, Ints]:
            topics = events[Ev.TOPIC, places]
            return topics, places - base[topics]

        return events, places[accepted[places]], origin


def about(chunks: Mapping[Topic, Chunk], events: Ints, places: Ints, origin: Origin) -> tuple[Packed, Causes]:
    """The accounts and the causes of what is said of events at these places (k,)."""
    topics, indices = origin(places)
    accounts, ids = [], []
    offsets, order = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
    taken = 0
    for number in np.unique(topics).tolist():
        chunk, mine = chunks[Topic(number)], np.flatnonzero(topics == number)
        own = indices[mine]
        accounts.append(chunk.keys.at(own))
        ids.append(ids_of(Topic(number), chunk.values.at(own), events[Ev.ID_AT, places[mine]], events[Ev.ID_END, places[mine]]))
        offsets[mine], order[mine] = chunk.offsets[own], np.arange(taken, taken + len(mine))
        taken += len(mine)
    together = Packed.joined(accounts).at(order), Packed.joined(ids).at(order)
    return together[0], Causes(topics, offsets, together[1], events[Ev.OCCURRED_AT, places])


def ids_of(topic: Topic, values: Packed, begins: Ints, ends: Ints) -> Packed:
    """The ids of records: where the decoder has seen them in the values, and of the others as JSON has them."""
    seen = Packed(values.data, values.begins + begins, values.begins + ends)
    is_seen = begins != MISSING
    if is_seen.all():
        return seen
    others = Packed.of(record_id(topic, value) for value in values.at(~is_seen).present())
    order = np.cumsum(is_seen) - 1
    order[~is_seen] = np.arange(np.count_nonzero(is_seen), len(values))
    return Packed.joined([seen.at(is_seen), others]).at(order)


def record_id(topic: Topic, value: bytes) -> bytes:
    """The id of an accepted record."""
    plain = from_json(value)
    plain = plain["data"] if "specversion" in plain else plain
    found: str = plain["command_id" if topic is Topic.COMMAND else "event_id"]
    return found.encode()


def dead_letter_refs(prepared: Prepared, open_lines: Sequence[int] = ()) -> tuple[DeadLetterRef, ...]:
    """The rejected records of a batch, by topic and offset; ``open_lines`` are the profiles that wished an open line forgotten."""
    rejected = dict(prepared.rejects)
    if open_lines:
        mine = [*rejected[Topic.PROFILE], *(Reject(index, "invalid", LINE_OPEN) for index in open_lines)]
        rejected[Topic.PROFILE] = sorted(mine, key=lambda reject: reject.index)
    return tuple(
        DeadLetterRef(INPUTS[topic].name, int(prepared.batch.chunks[topic].offsets[reject.index]), reject.disposition, reject.message)
        for topic, rejects in sorted(rejected.items())
        for reject in rejects
    )


def activated_policy(control: Any) -> Policy:
    """The policy of an ``activate`` record. Raises PolicyErrors, or ValueError if its hash is another or it was never promoted."""
    policy = from_plain(control.policy, "limit-control")
    if policy_hash(policy) != control.policy_hash:
        raise ValueError("policy_hash is not the SHA-256 of this policy's canonical bytes: promote it with `limit-engine policy promote`")
    if any(measure.column is None for measure in policy.measures):
        raise ValueError("the policy has measures without a column: promote it with `limit-engine policy promote`")
    return policy
