"""Topics in step: whatever the cuts and the order of arrival, the merged order and the clocks are the same."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.layout import Topic
from engine.stream.alignment import NEVER, Alignment, GapError
from engine.stream.records import RECORD_BYTES, Batch, Chunk, Delivery

EVENTS = [Topic.PROFILE, Topic.REPAYMENT, Topic.PURCHASE]


def chunk(topic: Topic, times: list[int], first: int = 0) -> Chunk:
    offsets = list(range(first, first + len(times)))
    return Chunk.of(topic, offsets, times, [b"%d" % (offset % 7) for offset in offsets], [b"{}"] * len(times), None)


def deliver(topic: Topic, times: list[int], first: int = 0, stable: int | None = None) -> Delivery:
    end = first + len(times)
    return Delivery(chunk(topic, times, first), first, end, end if stable is None else stable)


def nothing(*topics: Topic) -> list[Delivery]:
    return [deliver(topic, []) for topic in topics]


def all_quiet(alignment: Alignment, but: Topic | None = None) -> None:
    for delivery in nothing(*(topic for topic in Topic if topic is not but)):
        alignment.offer(delivery)


def taken(batch: Batch) -> list[tuple[Topic, int, int]]:
    """(topic, offset, clock) in merged order."""
    return [
        (Topic(t), batch.chunks[Topic(t)].offsets[i], clock)
        for t, i, clock in zip(batch.order_topic.tolist(), batch.order_index.tolist(), batch.clock_ms.tolist(), strict=True)
    ]


def drain(alignment: Alignment, events_max: int = 100, accounts_max: int = 100) -> list[tuple[Topic, int, int]]:
    found = []
    while (batch := alignment.take(events_max, accounts_max, 10**9, has_policy=True)) is not None:
        found += taken(batch)
        alignment.settle(batch, batch.watermark_ms)
    return found


def test_topics_interleave_by_running_maximum_and_ties_by_rank() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10, 5, 30]))
    alignment.offer(deliver(Topic.PROFILE, [10, 20]))
    assert drain(alignment) == [
        (Topic.PROFILE, 0, 10),
        (Topic.PURCHASE, 0, 10),
        (Topic.PURCHASE, 1, 10),
        (Topic.PROFILE, 1, 20),
        (Topic.PURCHASE, 2, 30),
    ]


def test_a_topic_with_a_backlog_holds_the_others_back() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10, 20, 30, 40]))
    alignment.offer(deliver(Topic.REPAYMENT, [5, 20], stable=3))
    assert [offset for topic, offset, _ in drain(alignment) if topic is Topic.PURCHASE] == [0]
    alignment.offer(deliver(Topic.REPAYMENT, [35], first=2, stable=3))
    # Now everything is here, and nothing more can be read of any topic.
    assert [offset for topic, offset, _ in drain(alignment) if topic is Topic.PURCHASE] == [1, 2, 3]


def test_a_topic_that_nothing_is_known_of_holds_everybody_back() -> None:
    alignment = Alignment()
    all_quiet(alignment, but=Topic.TRANSFER)
    alignment.offer(deliver(Topic.PURCHASE, [10]))
    assert alignment.take(10, 10, 10**9, has_policy=True) is None
    alignment.offer(deliver(Topic.TRANSFER, []))
    assert alignment.take(10, 10, 10**9, has_policy=True) is not None


def test_without_a_policy_only_control_is_taken() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10]))
    assert alignment.take(10, 10, 10**9, has_policy=False) is None
    alignment.offer(deliver(Topic.CONTROL, [99, 100]))
    batch = alignment.take(10, 10, 10**9, has_policy=False)
    assert batch is not None
    assert taken(batch) == [(Topic.CONTROL, 0, 99)]


def test_a_control_record_makes_a_batch_of_its_own() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10, 20, 30]))
    alignment.offer(deliver(Topic.CONTROL, [20]))
    sizes = []
    while (batch := alignment.take(10, 10, 10**9, has_policy=True)) is not None:
        sizes.append((sorted(batch.chunks), len(batch)))
        alignment.settle(batch, batch.watermark_ms)
    assert sizes == [([Topic.PURCHASE], 1), ([Topic.CONTROL], 1), ([Topic.PURCHASE], 2)]


def test_the_clock_never_falls_behind_the_tick() -> None:
    alignment = Alignment()
    alignment.restore({}, {}, 1000)
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10, 2000]))
    assert [clock for _, _, clock in drain(alignment)] == [1000, 2000]


def test_cuts_say_where_to_continue_behind_markers_too() -> None:
    alignment = Alignment()
    alignment.restore({Topic.PURCHASE: 7}, {Topic.PURCHASE: 50}, NEVER)
    all_quiet(alignment, but=Topic.PURCHASE)
    alignment.offer(Delivery(Chunk.of(Topic.PURCHASE, [8, 10], [1, 60], [b"a", b"b"], [b"", b""], None), 7, 12, 12))
    batch = alignment.take(1, 10, 10**9, has_policy=True)
    assert batch is not None
    assert batch.cuts == {Topic.PURCHASE: (7, 9, 50)}
    assert not batch.caught_up
    alignment.settle(batch, batch.watermark_ms)
    batch = alignment.take(5, 10, 10**9, has_policy=True)
    assert batch is not None
    assert batch.cuts == {Topic.PURCHASE: (9, 12, 60)}
    assert batch.caught_up


def test_what_is_delivered_twice_is_taken_once_and_a_gap_is_told() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10, 20]))
    alignment.offer(deliver(Topic.PURCHASE, [10, 20, 30]))
    assert len(drain(alignment)) == 3
    with pytest.raises(GapError, match="expected offset 3, got 5"):
        alignment.offer(deliver(Topic.PURCHASE, [40], first=5))


def test_a_batch_is_cut_by_accounts() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, list(range(20))))
    batch = alignment.take(100, 3, 10**9, has_policy=True)
    assert batch is not None
    assert len(set(batch.chunks[Topic.PURCHASE].keys)) == len(batch) == 3


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=25), min_size=3, max_size=3),
    st.integers(0, 2**32),
)
def test_the_order_does_not_depend_on_cuts_or_arrival(times: list[list[int]], seed: int) -> None:
    random = Random(seed)
    whole = Alignment()
    all_quiet(whole)
    for topic, its in zip(EVENTS, times, strict=True):
        whole.offer(deliver(topic, its))
    expected = drain(whole)

    pieces = Alignment()
    for topic in Topic:
        if topic not in EVENTS:
            pieces.offer(deliver(topic, []))
    left = {topic: list(its) for topic, its in zip(EVENTS, times, strict=True)}
    for topic, its in left.items():
        pieces.offer(deliver(topic, [], stable=len(its)))
    at = dict.fromkeys(EVENTS, 0)
    found = []
    while any(left.values()) or any(pieces.buffered(topic) for topic in EVENTS):
        ready = [topic for topic in EVENTS if left[topic]]
        if ready:
            topic = random.choice(ready)
            count = random.randint(1, len(left[topic]))
            total = at[topic] + len(left[topic])
            pieces.offer(deliver(topic, left[topic][:count], first=at[topic], stable=total))
            left[topic] = left[topic][count:]
            at[topic] += count
        for _ in range(random.randint(0, 3) if ready else 1):
            batch = pieces.take(random.randint(1, 9), random.randint(1, 9), 10**9, has_policy=True)
            if batch is None:
                break
            found += taken(batch)
            pieces.settle(batch, batch.watermark_ms)
    assert found == expected


def test_a_batch_has_at_most_so_many_bytes_but_one_record() -> None:
    alignment = Alignment()
    all_quiet(alignment)
    alignment.offer(deliver(Topic.PURCHASE, [10, 20, 30, 40, 50]))
    alignment.offer(deliver(Topic.PROFILE, [15, 25]))
    assert alignment.buffered_bytes(Topic.PURCHASE) == 5 * (len(b"{}") + RECORD_BYTES)
    sizes = []
    for bytes_max in (5, 1, 1_000):
        batch = alignment.take(100, 100, bytes_max, has_policy=True)
        assert batch is not None
        sizes.append(len(batch))
        alignment.settle(batch, batch.watermark_ms)
    assert sizes == [2, 1, 4]
    assert alignment.buffered_bytes(Topic.PURCHASE) == alignment.buffered_bytes(Topic.PROFILE) == 0
