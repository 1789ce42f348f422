"""One turn of a shard: from a batch of records to the journal record that says everything it did.

Theory of operation. ``DecisionMachine`` is the shard's memory and judgement, without I/O, clock or randomness: ``prepare`` decodes a batch and
names the accounts whose state must be loaded, ``admit`` takes their states in, ``execute`` runs the kernel over the merged events, renders
what was decided and encodes the touched accounts. The same batches, ticks and policy therefore give the same journal records, byte for
byte: the live shard, the offline ``decide`` and the audit's replay are this one class.

A control record is the first of its batch (``engine.stream.alignment``): it is taken before the other records are decoded, because what they
mean depends on the policy in force. ``restore`` puts the machine back to what the store says; after any doubt that is the only way on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine import __version__
from engine.core.decide import EMISSIONS_MAX, run
from engine.core.fingerprint import FingerprintKey
from engine.core.layout import EVENT_COLUMNS, FIGURES, Ev, Topic, Verdict
from engine.core.tables import FACTS, Ints
from engine.policy.compile import CompiledPolicy, compile_policy
from engine.policy.document import Policy
from engine.policy.promote import canonical_bytes, policy_hash
from engine.policy.verify import verify
from engine.state.cache import AccountCache
from engine.state.codec import encode_rows
from engine.state.record import DeadLetterRef, InputCut, JournalRecord, Output
from engine.stream.decode.decoder import Decoded, Decoder, Reject
from engine.stream.records import Batch
from engine.stream.render import Cause, Renderer
from schemas.topics import INPUT_TOPICS

DECISIONS_AT_ONCE: Final = 1024
POLICY_FIELD: Final = "policy"
RECORD_BYTES_TARGET: Final = 4_000_000
ACCOUNTS_MAX: Final = 4_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded batch. ``missing`` are the accounts to load before ``execute``, each once, in ascending order."""

    batch: Batch
    decoded: dict[Topic, Decoded]
    accounts: tuple[bytes, ...]
    missing: list[bytes]
    rejects: dict[Topic, list[Reject]]
    activated: bool


class DecisionMachine:
    """One shard's machine. ``cache_accounts`` bounds its memory; a batch never holds more accounts than ``accounts_per_batch``."""

    def __init__(self, shard: int, partitions: int, key: FingerprintKey, cache_accounts: int) -> None:
        self.shard = shard
        self._partitions = partitions
        self._key = key
        self._cache_accounts = cache_accounts
        self._sequence = 0
        self._policy: CompiledPolicy | None = None
        self._decoder: Decoder | None = None
        self._cache: AccountCache | None = None
        self._account_bytes = 1_000.0

    @property
    def has_policy(self) -> bool:
        """Whether a policy is in force; without one only control records can be taken."""
        return self._policy is not None

    @property
    def policy(self) -> CompiledPolicy | None:
        """The policy in force."""
        return self._policy

    @property
    def accounts_per_batch(self) -> int:
        """How many accounts a batch may touch so that its journal record stays near 4 MB."""
        return max(1, min(ACCOUNTS_MAX, self._cache_accounts, int(RECORD_BYTES_TARGET / self._account_bytes)))

    def restore(self, fields: Mapping[str, bytes]) -> None:
        """Begin again from the shard hash: its applied sequence and policy; every cached account is forgotten."""
        self._sequence = int(fields.get("sequence", b"0"))
        document = fields.get(POLICY_FIELD)
        if document is None:
            self._policy = self._decoder = self._cache = None
            return
        policy = Policy.from_plain(json.loads(document))
        if self._policy is None or self._policy.hash != policy_hash(policy):
            self._enforce(policy)
        self.forget()

    def forget(self) -> None:
        """Forget every cached account."""
        if self._cache is not None:
            self._cache.forget()

    def prepare(self, batch: Batch) -> Prepared:
        """Decode a batch; a control record in it is in force from here on."""
        decoded: dict[Topic, Decoded] = {}
        rejects: dict[Topic, list[Reject]] = {}
        activated = False
        if Topic.CONTROL in batch.chunks:
            activated, rejects[Topic.CONTROL] = self._take_control(batch)
        for topic in sorted(batch.chunks):
            if topic is not Topic.CONTROL:
                assert self._decoder is not None, "only control records may come before a policy"
                decoded[topic] = self._decoder.decode(batch.chunks[topic])
                rejects[topic] = decoded[topic].rejects
        accounts = tuple(sorted({account for part in decoded.values() for account in part.accounts}))
        missing = self._cache.missing(accounts) if self._cache is not None else []
        return Prepared(batch, decoded, accounts, missing, rejects, activated)

    def admit(self, accounts: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Take loaded states into the cache; None is an account without history. Raises StateFormatError."""
        if self._cache is not None:
            self._cache.admit(accounts, values)

    def execute(self, prepared: Prepared, tick_ms: int) -> JournalRecord:
        """Decide the batch. Every account of ``prepared.missing`` must have been admitted since ``prepare``."""
        batch = prepared.batch
        accounts: tuple[tuple[bytes, bytes], ...] = ()
        outputs: list[Output] = []
        verdicts = np.zeros(0, np.int64)
        if prepared.decoded:
            accounts, outputs, verdicts = self._decide(prepared)
        self._sequence += 1
        fields: tuple[tuple[str, bytes], ...] = ()
        if prepared.activated and self._policy is not None:
            fields = ((POLICY_FIELD, canonical_bytes(self._policy.document)),)
        if accounts:
            mean = sum(len(value) for _, value in accounts) / len(accounts) + 40
            self._account_bytes += (mean - self._account_bytes) / 4
        return JournalRecord(
            shard=self.shard,
            sequence=self._sequence,
            engine_version=__version__,
            policy_hash=self._policy.hash if self._policy is not None else "",
            tick_ms=tick_ms,
            events=len(batch),
            cuts=tuple(InputCut(INPUT_TOPICS[topic].name, *batch.cuts[topic]) for topic in sorted(batch.cuts)),
            accounts=accounts,
            fields=fields,
            outputs=tuple(outputs),
            dead_letters=self._dead_letters(prepared),
            counts=tuple((verdict.name.lower(), int(np.count_nonzero(verdicts == verdict))) for verdict in Verdict),
        )

    # Control

    def _enforce(self, policy: Policy) -> None:
        """Put a policy in force. The cache's rows have the old policy's shape, so they go."""
        self._policy = compile_policy(policy, self._key)
        self._decoder = Decoder(self._policy.decode, self._key, self.shard, self._partitions)
        self._cache = AccountCache(self._policy.layout, self._cache_accounts)

    def _take_control(self, batch: Batch) -> tuple[bool, list[Reject]]:
        chunk = batch.chunks[Topic.CONTROL]
        decoded = Decoder.decode_control(chunk)
        activated = False
        rejects = list(decoded.rejects)
        for place, control in zip(decoded.index, decoded.controls, strict=True):
            if control.kind != "activate":
                continue
            policy = Policy.from_plain(control.policy)
            problem = activation_problem(policy, control.policy_hash)
            if problem is None:
                self._enforce(policy)
                activated = True
            else:
                rejects.append(Reject(int(place), "invalid", problem))
        return activated, rejects

    # Events

    def _decide(self, prepared: Prepared) -> tuple[tuple[tuple[bytes, bytes], ...], list[Output], Ints]:
        policy, cache = self._policy, self._cache
        assert policy is not None and cache is not None
        slots = cache.slots(prepared.accounts)
        slot_of = dict(zip(prepared.accounts, slots.tolist(), strict=True))
        events, order, places = self._columns(prepared, slot_of)
        profiles = self._profiles(prepared)
        renderer = Renderer(policy)
        decisions = np.zeros((DECISIONS_AT_ONCE + EMISSIONS_MAX, policy.decision_columns), np.int64)
        verdicts = np.zeros(events.shape[1], np.int64)
        facts = np.zeros(FACTS, np.int64)
        outputs: list[Output] = []
        place = 0
        while place < len(order):
            place, count = run(policy.program, cache.rows, events, order, profiles, place, decisions, verdicts, facts)
            for decision in decisions[:count]:
                topic, index = places[decision[1 - 1]]
                chunk = prepared.batch.chunks[topic]
                outputs.append(renderer.render(decision, self._cause(prepared, topic, index), chunk.keys[index] or b""))
        touched = np.zeros(cache.rows.shape[0], np.bool_)
        changed = (verdicts == Verdict.ACCEPTED) | (verdicts == Verdict.NO_PROFILE)
        touched[events[Ev.SLOT, changed]] = True
        ids = [account for account in prepared.accounts if touched[slot_of[account]]]
        values = encode_rows(cache.rows, np.array([slot_of[account] for account in ids], np.int64), policy.layout)
        return tuple(zip(ids, values, strict=True)), outputs, verdicts
