"""Replaying dead letters: what becomes of each that was chosen, and the transactions that send them.

Replays exclude each other: the producer fences the one before it when it starts, then the topic is read for what was replayed, then
transactions are written with the copies and the notes of them (``engine.stream.backlog``). What is not committed was not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from kafka import KafkaProducer
from kafka.errors import KafkaError, ProducerFencedError

from engine.connections import kafka_client
from engine.errors import EngineError
from engine.settings import Kafka
from engine.stream.backlog import Backlog, Fate, Letter, Place
from engine.stream.copies import Copies, Copy, unsendable
from engine.stream.corrections import Correction, matched
from schemas import dead_letters as names
from schemas.access import REPLAY_ID
from schemas.topics import DEAD_LETTERS

TRANSACTION_RECORDS: Final = 500
TRANSACTION_TIMEOUT_MS: Final = 15_000
RUN_AGAIN: Final = "`limit-engine dlq list` says what was replayed; run this again for what was not"

Result = Literal["would_be_sent", "sent", "not_sent", "refused", "replayed_before", "superseded", "taken", "dead_again", "not_taken_yet"]


@dataclass(frozen=True, slots=True)
class Orders:
    """How to replay: only what is ``corrected``, or also the rest of what was chosen, then perhaps only what is ``open``. ``rekey``: key all by
    their account_id; ``as_is``: send also what would be refused again; ``again``: also what was replayed before."""

    corrected: bool = False
    open: bool = False
    rekey: bool = False
    as_is: bool = False
    again: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a dead letter that was chosen: ``copy`` is what is sent, ``lies`` where, ``died`` the dead letter that it became."""

    letter: Letter
    result: Result
    why: str = ""
    copy: Copy | None = None
    lies: Place | None = None
    died: Letter | None = None


def planned(
    letters: Iterable[Letter], backlog: Backlog, copies: Copies, given: Sequence[Correction], orders: Orders
) -> tuple[list[Outcome], list[str]]:
    """What would become of the chosen dead letters, in the order of their records' timestamps; and the mistakes in the corrected values."""
    chosen = sorted(letters, key=lambda letter: (letter.recorded_ms, letter.origin))
    corrected, mistakes = matched(chosen, given)
    fates, found = backlog.fates(), []
    for letter in chosen:
        correction, fate = corrected.get(letter.place), fates[letter.place]
        if correction is None and (orders.corrected or (orders.open and not fate.is_open)):
            continue
        outcome = _outcome(letter, fate, copies, correction, orders)
        if correction is not None and outcome.copy is None:
            mistakes.append(f"{correction.where}: {letter.place.short}: {outcome.why}")
        found.append(outcome)
    return found, mistakes


def _outcome(letter: Letter, fate: Fate, copies: Copies, correction: Correction | None, orders: Orders) -> Outcome:
    """What would become of one."""
    why = unsendable(letter)
    if why is not None:
        return Outcome(letter, "refused", why)
    if not fate.is_open and not orders.again:
        if fate.copy is not None:
            return Outcome(letter, "replayed_before", f"its event lies in {fate.copy}")
        assert fate.follower is not None
        return Outcome(letter, "superseded", f"{fate.follower.short} is the newer dead letter of its event")
    copy = copies.of(letter, None if correction is None else correction.value, rekey=orders.rekey)
    if copy.reject is not None and not orders.as_is:
        return Outcome(letter, "refused", f"it would be refused again: {copy.reject.disposition}: {copy.reject.message}")
    return Outcome(letter, "would_be_sent", copy=copy)


@contextmanager
def resending(kafka: Kafka) -> Iterator[KafkaProducer]:
    """A producer for ``send``; from here on no other replay can commit."""
    producer = kafka_client(
        KafkaProducer,
        kafka,
        transactional_id=REPLAY_ID,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        acks="all",
        max_request_size=DEAD_LETTERS.bytes_max,
        max_block_ms=30_000,
    )
    try:
        producer.init_transactions()
        yield producer
    finally:
        producer.close(timeout=5)


def send(producer: KafkaProducer, outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    """Send the copies of these, some at once; those that were committed, with where they lie. Raises EngineError where the answer to a commit is
    missing: ``Backlog.copies`` says then whether it was done. Whatever else is raised: what was not given before was not sent."""
    left = iter(outcomes)
    while some := list(islice(left, TRANSACTION_RECORDS)):
        producer.begin_transaction()
        try:
            places = _write(producer, some)
        except ProducerFencedError as error:
            raise EngineError("another replay has begun, and this one cannot go on", where="dead-letters", cure=RUN_AGAIN) from error
        except BaseException:  # also when a person interrupts it: nothing of it is to be seen
            with suppress(KafkaError):  # the first error is the one to tell; the broker ends what is left open by its timeout
                producer.abort_transaction()
            raise
        try:
            producer.commit_transaction()
        except KafkaError as error:
            raise EngineError(f"the commit was not confirmed: {error}", where="Kafka", cure=RUN_AGAIN) from error
        for outcome, place in zip(some, places, strict=True):
            outcome.lies, outcome.result = place, "sent"
        yield some


def _write(producer: KafkaProducer, outcomes: Sequence[Outcome]) -> list[Place]:
    """Write copies, and the notes of them, in the transaction that is open; where the copies lie."""
    futures = [_hand_over(producer, outcome.copy) for outcome in outcomes if outcome.copy is not None]
    places = [_placed(future) for future in futures]
    notes = [_note(producer, outcome.letter.place, place) for outcome, place in zip(outcomes, places, strict=True)]
    for note in notes:
        _placed(note)
    return places


def _hand_over(producer: KafkaProducer, copy: Copy) -> Any:
    topic, headers = copy.letter.origin.topic, list(copy.headers)
    return producer.send(topic, key=copy.key, value=copy.value, headers=headers, partition=copy.partition, timestamp_ms=copy.timestamp_ms)


def _note(producer: KafkaProducer, letter: Place, copy: Place) -> Any:
    headers = [(names.REPLAY_OF, str(letter).encode()), (names.REPLAYED_AS, str(copy).encode())]
    return producer.send(DEAD_LETTERS.name, key=str(letter).encode(), headers=headers, partition=letter.partition)


def _placed(future: Any) -> Place:
    """Where a record was written."""
    written = future.get(timeout=30)
    return Place(written.topic, written.partition, written.offset)
