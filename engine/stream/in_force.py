"""Which version of the policy a shard decides by, and how far its sweep is: read from the shard's hash, for operators."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from engine.state import keys
from engine.state.store import applied_of
from engine.stream.appetite import Appetites
from engine.stream.sweep import EPOCH, Sweep


class Version(NamedTuple):
    """A policy in force: the document's name and number, and its hash, 64 hexadecimal digits."""

    policy: str
    version: int
    hash: str

    def __str__(self) -> str:
        return f"{self.policy} version {self.version} ({self.hash[:12]})"


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """What a shard's hash says: the version in force (None: none yet), the journal sequence applied (0: nothing yet), the newest sweep,
    the appetites."""

    shard: int
    version: Version | None
    applied: int
    sweep: Sweep | None
    appetites: Appetites

    @property
    def buckets_swept(self) -> int:
        """How many of the 256 buckets the newest sweep has finished."""
        return 0 if self.sweep is None else keys.BUCKETS - self.sweep.left

    @property
    def buckets_followed(self) -> int:
        """How many of the 256 buckets sweeps have finished since the newest control record, whatever caused them."""
        return 0 if self.sweep is None else keys.BUCKETS - self.sweep.unfollowed

    def plain(self) -> dict[str, object]:
        """As JSON tells it."""
        named = dict.fromkeys(("policy", "version", "hash")) if self.version is None else self.version._asdict()
        sweep = None
        if self.sweep is not None:
            day = (EPOCH + timedelta(days=self.sweep.day)).date().isoformat()
            sweep = {"day": day, "cause": self.sweep.cause, "buckets": keys.BUCKETS, "buckets_swept": self.buckets_swept}
        return {"shard": self.shard, **named, "sequence": self.applied, "sweep": sweep}


def status_of(shard: int, fields: Mapping[str, bytes]) -> ShardStatus:
    """Read a shard's hash. The policy's field holds the very bytes that are hashed, so a document with words that this engine does not know is
    told as well."""
    document, sweep = fields.get(keys.POLICY), fields.get(keys.SWEEP)
    version = None
    if document is not None:
        plain = json.loads(document)
        version = Version(plain["policy"], plain["version"], hashlib.sha256(document).hexdigest())
    return ShardStatus(
        shard,
        version,
        applied_of(fields),
        None if sweep is None else Sweep.decode(sweep),
        Appetites.decode(fields.get(keys.APPETITES, b"")),
    )


def disagreement(shards: Sequence[ShardStatus]) -> str | None:
    """Who runs what, where not all shards run the same version; None if they do."""
    by_version: dict[Version | None, list[int]] = {}
    for status in shards:
        by_version.setdefault(status.version, []).append(status.shard)
    if len(by_version) <= 1:
        return None
    told = [f"{version or 'no policy'} on {_numbers(numbers)}" for version, numbers in by_version.items()]
    return f"not all shards decide by the same policy: {'; '.join(told)}"


def _numbers(shards: Sequence[int]) -> str:
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(map(str, shards))}"
