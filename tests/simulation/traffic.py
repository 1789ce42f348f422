"""What the lender's systems publish: facts about a few accounts, wrong records, profiles, tombstones, and control records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from engine.policy.document import Policy
from engine.policy.promote import canonical_bytes, promote
from engine.policy.source import load_policy
from tests.stream.runs import activation

FILE: Final = Path(__file__).with_name("policy.yaml")
BEGAN: Final = datetime(2026, 3, 1, 15, 59, 30, tzinfo=UTC)  # half a minute before a day of the policy's begins


@cache
def policies() -> tuple[Policy, Policy]:
    """A policy, and the version that may follow it."""
    first = promote(load_policy(FILE, BEGAN), None, BEGAN)
    plain = json.loads(canonical_bytes(first))
    (segment,) = plain["segments"]
    segment["bands"][1]["limit_minor"] = 120_000
    segment["scorecard"][0]["bins"][1]["points"] = 12
    return first, promote(Policy.from_plain(plain | {"version": 2}), first, BEGAN)


@dataclass(frozen=True)
class Published:
    """Records for one topic at one moment; ``fate``: of the transaction that they are sent in, if in any."""

    topic: str
    records: Sequence[tuple[bytes | None, bytes | None]]
    fate: str | None = None


class Traffic:
    """Makes records one after the other."""

    def __init__(self, chance: Random, accounts: int) -> None:
        self._chance = chance
        self._accounts = [f"a-{n}" for n in range(accounts)]
        self._serial = 0
        self._before: list[tuple[str, dict[str, Any]]] = []

    def first(self) -> Published:
        """The first policy comes into force."""
        return Published("limit-control", [(None, activation(policies()[0]))], "committed")

    def next(self, now_s: float) -> Published:
        """The next records, of this moment."""
        dice = self._chance.random()
        if dice < 0.01:
            return self._control(now_s)
        if dice < 0.05:
            return Published("account-profiles", [self._profile(now_s)])
        topic, fact = self._fact(now_s)
        records = [(fact["account_id"].encode(), self._spoilt(json.dumps(fact).encode()))]
        if dice < 0.1:  # some producers send in transactions: their markers take offsets, and what they abort is never seen
            return Published(topic, records, self._chance.choice(("committed", "aborted")))
        return Published(topic, records)

    def _control(self, now_s: float) -> Published:
        if self._chance.random() < 0.5:
            return Published("limit-control", [(None, activation(policies()[1], control_id=f"c-{self._number()}"))], "committed")
        appetite = {
            "control_id": f"c-{self._number()}",
            "issued_at": instant(now_s),
            "issued_by": "committee",
            "approved_by": "board",
            "kind": "appetite",
            "segment": "individual",
            "mode": self._chance.choice(("contraction", "neutral")),
            "expected_decreases": 0,
            "reason": "a simulation",
        }
        return Published("limit-control", [(None, json.dumps(appetite).encode())], "committed")

    def _fact(self, now_s: float) -> tuple[str, dict[str, Any]]:
        if self._before and self._chance.random() < 0.04:
            return self._chance.choice(self._before)  # a producer repeats itself
        fact = self._common(now_s - self._chance.choice((0, 0, 0, 60, 7_200)))
        if self._chance.random() < 0.75:
            fact |= {"category": "groceries", "channel": "app", "merchant_id": "m-1", "funded_by": "own"}
            made = "purchases", fact | {"amount_minor": self._chance.randrange(100, 2_000)}
        else:
            fact |= {"direction": "in", "counterparty_id": "c-1", "purpose": "salary"}
            made = "transfers", fact | {"amount_minor": self._chance.randrange(1_000, 9_000)}
        self._before = [*self._before[-20:], made]
        return made

    def _profile(self, now_s: float) -> tuple[bytes, bytes | None]:
        fact = self._common(now_s)
        del fact["amount_minor"]
        key = fact["account_id"].encode()
        if self._chance.random() < 0.4:
            return key, None
        status = self._chance.choice(("active", "closed"))
        return key, json.dumps(fact | {"as_of": fact["occurred_at"], "segment": "individual", "status": status}).encode()

    def _common(self, at_s: float) -> dict[str, Any]:
        return {
            "event_id": f"e-{self._number()}",
            "account_id": self._chance.choice(self._accounts),
            "occurred_at": instant(at_s),
            "amount_minor": 0,
            "currency": "CNY",
        }

    def _spoilt(self, value: bytes) -> bytes:
        return value[:-3] if self._chance.random() < 0.03 else value

    def _number(self) -> int:
        self._serial += 1
        return self._serial


def instant(at_s: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
