"""Who answers the engine: customers, a risk desk and a core banking system that read what it announces.

The lives of ``scripts/personas.py`` know nothing of limits. What depends on them comes from here: customers take or decline offers, or want only
half of it, or ask for more when an increase is withheld; the desk looks into some of whom more was offered to, and calls whose account may be
in other hands, and unfreezes it; core banking applies changes and tells in each profile which one it applied last, sometimes a wrong one, until
it is told (``standing_mismatch``). Where there is a committee (``scripts/committee.py``), it hears what all hear and decides among them.

What is answered, and when, follows from the seed and the output alone, so that the same outputs get the same answers. A command carries the
time at which it is due; it is published when the stream of records has come to that time, or at once if the output was read later.

Nobody answers what was due before they came: who starts again answers nothing twice.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any, Final

from kafka import KafkaConsumer

from schemas.topics import ADVISORIES, CHANGES, COMMANDS, PROFILES
from scripts.committee import Committee
from scripts.personas import DAY_MS, HOUR_MS, instant
from scripts.spoil import Arrival, encode

ACCEPT_SHARE: Final = 0.5
DECLINE_SHARE: Final = 0.25
HALF_SHARE: Final = 0.15  # the others let the offer expire
REVIEW_SHARE: Final = 0.25  # of the offers, whatever the customer answers
THINK_DAYS: Final = 16  # at most: two days longer than the default policy's offers live
ASK_SHARE: Final = 0.05
ASKED_MINOR: Final = 5_000_000
REVIEW_DAYS: Final = 15
CALL_WITHIN_H: Final = 72
LOST_SHARE: Final = 0.04  # of the changes, on their way to core banking
BEHIND_MS: Final = DAY_MS  # who has read less far does not know what it has applied


def ms_of(text: str) -> int:
    """An RFC 3339 instant in ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Applied:
    """A standing as core banking keeps it; the temporary limit counts until ``until_ms`` by itself."""

    sequence: int
    limit_minor: int
    temporary_minor: int = 0
    until_ms: int = 0

    def at(self, at_ms: int) -> dict[str, int]:
        """What a profile tells of it."""
        return {"sequence": self.sequence, "limit_minor": self.temporary_minor if at_ms < self.until_ms else self.limit_minor}


class CoreBanking:
    """Applies every change that reaches it, and tells so."""

    def __init__(self, seed: int) -> None:
        self.heard_ms = 0  # up to when every change was heard
        self._seed = seed
        self._applied: dict[str, Applied] = {}
        self._shards: dict[str, int] = {}
        self._shard_heard_ms: dict[int, int] = {}

    def hear(self, output: dict[str, Any], shard: int = 0) -> None:
        """Apply a change of a shard, unless it gets lost, and what a mismatch says. A shard's changes come in the order of its decisions; between
        changes and advisories there is no order."""
        account = output["account_id"]
        if output["kind"] == "standing_mismatch":
            self._apply(account, Applied(output["sequence"], output["limit_minor"]))
        if "standing" not in output:
            return
        self._shards[account] = shard
        self._shard_heard_ms[shard] = max(self._shard_heard_ms.get(shard, 0), ms_of(output["occurred_at"]))
        if Random(f"{self._seed}/lost/{output['event_id']}").random() >= LOST_SHARE:
            standing = output["standing"]
            temporary = standing["temporary"]
            ends = (temporary["limit_minor"], ms_of(temporary["until"])) if temporary else ()
            self._apply(account, Applied(output["sequence"], standing["limit_minor"], *ends))

    def _apply(self, account: str, applied: Applied) -> None:
        known = self._applied.get(account)
        if known is None or applied.sequence > known.sequence:
            self._applied[account] = applied

    def snapshot(self, arrival: Arrival) -> Arrival:
        """An account's profile with what was applied last; as it is while core banking is behind. Other records as they are."""
        if arrival.topic != PROFILES.name:
            return arrival
        profile = json.loads(arrival.value)
        as_of_ms = ms_of(profile["as_of"])
        shard = self._shards.get(profile["account_id"], -1)
        if max(self.heard_ms, self._shard_heard_ms.get(shard, 0)) < as_of_ms - BEHIND_MS:
            return arrival
        elsewhere = (profile.get("granted") or {}).get("limit_minor", 0)
        applied = self._applied.get(profile["account_id"], Applied(0, elsewhere))
        return replace(arrival, value=encode(profile | {"applied": applied.at(as_of_ms)}))


class Counterpart:
    """The people and the core banking system; ``since_ms`` is when they begin to answer."""

    def __init__(self, seed: int, since_ms: int, committee: Committee | None = None) -> None:
        self.core = CoreBanking(seed)
        self._committee = committee
        self._seed = seed
        self._since_ms = since_ms
        self._pending: list[tuple[int, str, dict[str, Any]]] = []

    def hear(self, output: dict[str, Any], shard: int = 0) -> None:
        """Take notice of a limit change or an advisory from a shard."""
        self.core.hear(output, shard)
        if self._committee is not None:
            self._committee.hear(output)
        at_ms = ms_of(output["occurred_at"])
        rng = Random(f"{self._seed}/{output['event_id']}")
        match output["kind"]:
            case "offer":
                self._answer_offer(output, at_ms + int(rng.uniform(0.1, THINK_DAYS) * DAY_MS), rng.random())
                if rng.random() < REVIEW_SHARE:
                    self._review(output, at_ms + int(rng.uniform(0.5, 2) * HOUR_MS))
            case "increase_withheld" if rng.random() < ASK_SHARE:
                due_ms = at_ms + int(rng.uniform(1, 48) * HOUR_MS)
                self._command(output, due_ms, "app", "asked for in the app", "request_increase", requested_limit_minor=ASKED_MINOR)
            case "suspected_takeover":
                due_ms = at_ms + int(rng.uniform(1, CALL_WITHIN_H) * HOUR_MS)
                self._command(output, due_ms, "desk-2", "the customer was called and has a new password", "unfreeze", cause="takeover")

    def _answer_offer(self, output: dict[str, Any], due_ms: int, chance: float) -> None:
        offer_id = output["standing"]["offer"]["offer_id"]
        if chance < ACCEPT_SHARE:
            self._command(output, due_ms, "app", "accepted in the app", "accept_offer", offer_id=offer_id)
        elif chance < ACCEPT_SHARE + DECLINE_SHARE:
            self._command(output, due_ms, "app", "declined in the app", "decline_offer", offer_id=offer_id)
        elif chance < ACCEPT_SHARE + DECLINE_SHARE + HALF_SHARE:
            self._take_half(output, due_ms)

    def _take_half(self, output: dict[str, Any], due_ms: int) -> None:
        """Set a ceiling half-way, take the offer, which is then above what could be had, and ask for what the ceiling allows."""
        offer, limit_minor = output["standing"]["offer"], output["standing"]["limit_minor"]
        half_minor = (limit_minor + offer["limit_minor"]) // 2
        self._command(output, due_ms, "app", "no more than this", "set_ceiling", ceiling_minor=half_minor)
        self._command(output, due_ms + HOUR_MS, "app", "accepted in the app", "accept_offer", offer_id=offer["offer_id"])
        self._command(output, due_ms + DAY_MS, "app", "asked for in the app", "request_increase", requested_limit_minor=half_minor)

    def _review(self, output: dict[str, Any], due_ms: int) -> None:
        """Keep the limit as it is by hand until the account was looked into."""
        limit_minor, until = output["standing"]["limit_minor"], instant(due_ms + REVIEW_DAYS * DAY_MS)
        self._command(output, due_ms, "desk-3", "to be looked into before more is lent", "override", limit_minor=limit_minor, until=until)

    def _command(self, output: dict[str, Any], due_ms: int, by: str, reason: str, kind: str, **wish: Any) -> None:
        """Decide to send a command that answers an output."""
        if due_ms > self._since_ms:
            who = {"command_id": f"re-{output['event_id']}-{kind}", "account_id": output["account_id"], "issued_at": instant(due_ms)}
            value = {**who, "issued_by": by, "reason": reason, "kind": kind, **wish}
            heapq.heappush(self._pending, (due_ms, value["command_id"], value))

    def due(self, now_ms: int) -> Iterator[Arrival]:
        """The commands and decisions that are due by now, each once; they arrive now."""
        if self._committee is not None:
            yield from self._committee.due(now_ms)
        while self._pending and self._pending[0][0] <= now_ms:
            _, _, value = heapq.heappop(self._pending)
            yield Arrival(now_ms, 0, COMMANDS.name, value["account_id"].encode(), encode(value))

    def among(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """A stream of records with the answers to what was heard meanwhile, each before the first record that comes after it was due."""
        for arrival in arrivals:
            yield from self.due(arrival.at_ms)
            yield self.core.snapshot(arrival)


class Listener:
    """Reads all that the engine announces, from the beginning, for a counterpart."""

    def __init__(self, bootstrap: str, counterpart: Counterpart) -> None:
        self._counterpart = counterpart
        self._consumer = KafkaConsumer(
            CHANGES.name,
            ADVISORIES.name,
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )

    def listen(self, seconds: float = 0) -> bool:
        """Hear what has come, or comes within ``seconds``; whether anything was."""
        polled = self._consumer.poll(timeout_ms=int(1000 * seconds), max_records=5_000)
        for record in (record for records in polled.values() for record in records):
            self._counterpart.hear(json.loads(record.value), record.partition)
        return bool(polled)
