"""The reference consumer of limit-changes: keeps every account's newest standing in a file, and survives anything.

A limit change carries the full standing and the account's sequence. So applying is "keep the highest sequence": what comes again is left out,
what was missed (a gap: the topic's retention passed while we were down) is told and mended by the next change. State and position are one
file, replaced in one step; a consumer that is killed goes on where its last file says.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition


def apply(standings: dict[str, dict], change: dict) -> str | None:  # type: ignore[type-arg]
    """Take a change over unless it is known; says what was missed before it."""
    account, sequence = change["account_id"], change["sequence"]
    known = standings.get(account, {"sequence": 0})["sequence"]
    if sequence <= known:
        return None
    standings[account] = {"sequence": sequence, **change["standing"]}
    return f"{account}: sequence {known} is followed by {sequence}" if sequence > known + 1 else None


def main(bootstrap: str, file: Path, until_idle_s: float | None = None) -> None:
    """Follow limit-changes for ever, or until nothing has come for ``until_idle_s``."""
    state = json.loads(file.read_text()) if file.exists() else {"positions": {}, "standings": {}}
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    partitions = [TopicPartition("limit-changes", p) for p in sorted(consumer.partitions_for_topic("limit-changes"))]
    consumer.assign(partitions)
    for partition, first in consumer.beginning_offsets(partitions).items():
        consumer.seek(partition, max(first, state["positions"].get(str(partition.partition), 0)))
    while True:
        polled = consumer.poll(timeout_ms=int((until_idle_s or 3600) * 1000))
        for record in (record for records in polled.values() for record in records):
            missed = apply(state["standings"], json.loads(record.value))
            if missed:
                print(f"gap: {missed}", file=sys.stderr)
            state["positions"][str(record.partition)] = record.offset + 1
        if polled:
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps(state))
            os.replace(fresh, file)
        elif until_idle_s is not None:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
