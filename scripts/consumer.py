"""The reference consumer of limit-changes: keeps every account's newest standing in a file, and survives anything.

A limit change carries the full standing and the account's sequence, so applying is "keep the highest sequence". What was missed (a gap: it was
deleted while we were down) is told, and mended by the next change or by hand. Standings and positions are one file, replaced in one step.
"""

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition


def apply(standings: dict[str, Any], change: dict[str, Any]) -> str | None:
    """Take a change over unless it is known; says what was missed before it."""
    account, sequence = change["account_id"], change["sequence"]
    known = standings.get(account, {"sequence": 0})["sequence"]
    if sequence > known:
        standings[account] = {**change["standing"], "sequence": sequence}
    return f"{account}: sequence {known} is followed by {sequence}" if sequence > known + 1 else None


def main(bootstrap: str, file: Path, until_idle_s: float | None = None) -> None:
    """Follow limit-changes for ever, or until nothing has come for ``until_idle_s``."""
    fcntl.flock(os.open(f"{file}.lock", os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)  # one process a file
    topic_id = KafkaAdminClient(bootstrap_servers=bootstrap).describe_topics(["limit-changes"])[0]["topic_id"]
    state = json.loads(file.read_text()) if file.exists() else {"topic_id": topic_id, "positions": {}, "standings": {}}
    if topic_id is None or state["topic_id"] != topic_id:
        sys.exit("limit-changes is not there, or was made anew and may begin its sequences again: begin with another file")
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="none")
    while True:
        partitions = [TopicPartition("limit-changes", p) for p in consumer.partitions_for_topic("limit-changes")]
        if len(partitions) > len(consumer.assignment()):
            consumer.assign(partitions)
            for partition, first in consumer.beginning_offsets(partitions).items():
                position = state["positions"].get(str(partition.partition), 0)
                if position < first:
                    print(f"gap: partition {partition.partition} begins at {first}, we were at {position}", file=sys.stderr)
                consumer.seek(partition, max(first, position))
        polled = consumer.poll(timeout_ms=60_000 if until_idle_s is None else int(1000 * until_idle_s))
        for record in (record for records in polled.values() for record in records):
            missed = apply(state["standings"], json.loads(record.value)) if record.value is not None else None
            state["positions"][str(record.partition)] = record.offset + 1
            if missed:
                print(f"gap: {missed}", file=sys.stderr)
        if polled:
            with Path(f"{file}.new").open("w") as fresh:
                print(json.dumps(state), file=fresh, flush=True)
                os.fsync(fresh.fileno())  # on the disk before it replaces the last one
            os.replace(fresh.name, file)
        elif until_idle_s is not None:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
