"""Topic ``dead-letters``: the record as it came (key, value and headers as bytes), and why it was not taken, in headers.

The header names are Kafka Streams' (KIP-1034); the last one is ours.

Between them lie *notes of a replay*, without a value: that a dead letter of this partition was sent again. A note is written in the
transaction of what was sent, and has the last two headers and no other. What was sent has ``replay_of`` alone, and so has its dead letter if it
is one again.
"""

from __future__ import annotations

from typing import Final, Literal

Disposition = Literal[
    "not_json",
    "invalid",
    "unknown_field",
    "currency_mismatch",
    "key_mismatch",
    "misrouted",
    "in_the_future",
    "too_old",
    "too_large",
]

EXCEPTION: Final = "__streams.errors.exception"
MESSAGE: Final = "__streams.errors.message"
STACKTRACE: Final = "__streams.errors.stacktrace"
TOPIC: Final = "__streams.errors.topic"
PARTITION: Final = "__streams.errors.partition"
OFFSET: Final = "__streams.errors.offset"
TIMESTAMP: Final = "__streams.errors.timestamp"
DISPOSITION: Final = "disposition"

REPLAY_OF: Final = "replay_of"
REPLAYED_AS: Final = "replayed_as"
