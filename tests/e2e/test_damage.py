"""Bytes that change on a broker's disk: the shard that needs them stops there, and the others go on."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.topics import JOURNAL
from tests.e2e.test_refusals import Running, publish, running

HEAD = struct.Struct(">qi")  # of a batch: its offset, and the bytes that follow


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Running]:
    yield from running(tmp_path, 4)


def damage(segment: Path, offset: int) -> None:
    """Change the last byte of the batch that begins at an offset."""
    raw, at = bytearray(segment.read_bytes()), 0
    while True:
        begins, size = HEAD.unpack_from(raw, at)
        at += HEAD.size + size
        if begins == offset:
            break
    raw[at - 1] ^= 1
    segment.write_bytes(raw)


def test_a_batch_whose_checksum_is_wrong(four: Running) -> None:
    """Of an input before it was taken, of the journal before Redis has it; what lies before it is whole."""
    d = four.d
    four.publish()
    d.wait(d.is_all_taken, "everything is taken", 60)
    d.stop()
    before = four.sequences()
    for _ in range(3):
        publish(d, 1, four.accounts[0])
    purchase = int(d.fields(0)["next:purchases"]) + 1
    record = int(d.fields(1)["journal_offset"])
    d.kafka.stop()
    logs = d.kafka.data_dir / "data"
    damage(logs / "purchases-0" / "00000000000000000000.log", purchase)
    damage(logs / f"{JOURNAL.name}-1" / "00000000000000000000.log", record)
    d.kafka.start()
    four.redis.flushall()
    four.start()
    d.wait(lambda: four.stopped().keys() == {0, 1}, "two shards stop", 60)
    places = {
        0: f"purchases, partition 0, are damaged at offset {purchase}",
        1: f"{JOURNAL.name}, partition 1, are damaged at offset {record}",
    }
    for shard, told in four.stopped().items():
        assert places[shard] in told["reason"]
        assert "let a replica whose copy is whole lead" in told["cure"]
    d.wait(lambda: four.sequences()[2:] == before[2:], "the others have caught up", 30)
    four.publish()
    d.wait(lambda: all(now > then for now, then in zip(four.sequences()[2:], before[2:], strict=True)), "the others go on", 30)
    assert four.sequences()[1] == before[1] - 1
    assert int(d.fields(0)["next:purchases"]) <= purchase
    followed = d.command("follow", "--to", f"redis://{d.redis.address}/1", "--once")
    assert (followed.returncode, places[1] in followed.stderr) == (2, True), followed.stderr
    d.stop()
    d.kafka.stop()
    damage(logs / "purchases-0" / "00000000000000000000.log", purchase)  # the byte as it was
    damage(logs / f"{JOURNAL.name}-1" / "00000000000000000000.log", record)
    d.kafka.start()
    four.goes_on()
