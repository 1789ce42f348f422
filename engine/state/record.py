"""The journal record: all that one batch of a shard did, in one message of ``limit-journal``.

It is the truth of the commit protocol: whoever applies it to a store in sequence has the shard's state, whoever re-runs its inputs with its
cuts gets it again byte for byte. So it holds no time of day, no host and nothing that depends on the order of a dictionary.

What was announced lies in its own topics, written by the same transaction; of each output the journal has a digest. So a topic that does not
say what was decided is noticed, and a replay that does not say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import ormsgpack

from engine.state import keys
from engine.state.outputs import NO_OUTPUTS, OutputRef, Outputs
from engine.state.states import States

RECORD_FORMAT = 3
FIXARRAY = 0x90  # MessagePack: the first byte of an array, plus how many items it has, at most 15


@dataclass(frozen=True, slots=True)
class InputCut:
    """What the batch took of one input topic: offsets ``first`` (inclusive) to ``next`` (exclusive), and the topic's running maximum of
    record time after it (``clock_ms``)."""

    topic: str
    first: int
    next: int
    clock_ms: int


@dataclass(frozen=True, slots=True)
class DeadLetterRef:
    """A rejected input record: where it lies, and why. The bytes never go through the journal."""

    topic: str
    offset: int
    disposition: str
    message: str


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One commit of a shard. ``accounts`` are those that it has touched, with their states; ``fields`` are the shard hash's fields that changed
    besides those that every record implies (sequence, cuts, tick, policy). A record that was made has its ``outputs``, one that was read what it
    ``said`` of them."""

    application: str
    shard: int
    sequence: int
    engine_version: str
    policy_hash: str
    tick_ms: int
    events: int
    cuts: tuple[InputCut, ...]
    accounts: States
    fields: tuple[tuple[str, bytes], ...]
    outputs: Outputs
    dead_letters: tuple[DeadLetterRef, ...]
    counts: tuple[tuple[str, int], ...]
    said: tuple[OutputRef, ...] = ()

    @property
    def output_refs(self) -> tuple[OutputRef, ...]:
        """What it says of the outputs."""
        return self.said or self.outputs.refs()

    @property
    def is_beginning(self) -> bool:
        """Whether the shard's state begins with this record: whatever was before it, of any sequence, is void."""
        return any(name == keys.BEGINNING for name, _ in self.fields)

    @property
    def begun_together(self) -> bytes:
        """The command by which all shards begin anew together, if this is a beginning by one."""
        told = dict(self.fields).get(keys.BEGINNING, b"")
        return told if told.startswith(keys.TOGETHER) else b""

    def encode(self) -> bytes:
        """The bytes on the wire: MessagePack, positional, format number first."""
        before = (
            RECORD_FORMAT,
            self.application,
            self.shard,
            self.sequence,
            self.engine_version,
            self.policy_hash,
            self.tick_ms,
            self.events,
            [(c.topic, c.first, c.next, c.clock_ms) for c in self.cuts],
        )
        behind = (
            self.fields,
            [(o.topic, o.key, o.digest) for o in self.output_refs],
            [(d.topic, d.offset, d.disposition, d.message) for d in self.dead_letters],
            self.counts,
        )
        array_of_all = bytes([FIXARRAY + len(before) + 1 + len(behind)])
        return b"".join((array_of_all, ormsgpack.packb(before)[1:], self.accounts.as_msgpack(), ormsgpack.packb(behind)[1:]))

    @classmethod
    def decode(cls, raw: bytes) -> JournalRecord:
        """Inverse of ``encode``. Raises ValueError for a format this engine does not know."""
        parts = ormsgpack.unpackb(raw)
        if parts[0] != RECORD_FORMAT:
            what = f"journal record format {parts[0]}; this engine reads {RECORD_FORMAT}"
            raise ValueError(f"{what}: run the engine that wrote it, or a newer one")
        _, application, shard, sequence, engine, policy, tick, events, cuts, accounts, fields, said, dead, counts = parts
        return cls(
            application,
            shard,
            sequence,
            engine,
            policy,
            tick,
            events,
            tuple(InputCut(*cut) for cut in cuts),
            States.of((account, value) for account, value in accounts),
            tuple((name, value) for name, value in fields),
            NO_OUTPUTS,
            tuple(DeadLetterRef(*ref) for ref in dead),
            tuple((name, count) for name, count in counts),
            tuple(OutputRef(*ref) for ref in said),
        )
