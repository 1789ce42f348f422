"""The load: a seeded log of events for many accounts, published before anything is measured.

Accounts buy, move money and sometimes repay a loan, evenly over some months, so a run slides windows over many day changes, as real traffic
does. They are not equally busy: the account of rank r has a share of 1 / r ** ``skew`` (Zipf's law; 0: all the same), and ``hot_share`` of all
events is one account's. Of fifteen records nine are purchases, five transfers, and one is a repayment: an account has two loans of monthly
instalments. Records have the shape and the size (about 220 bytes) of the contract's examples.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from scripts.personas import DAY_MS, date_of, instant
from scripts.spoil import Arrival, encode

TOPICS: Final = ("purchases", "transfers", "repayments")
MIX: Final = (0, 0, 1, 0, 1, 0, 0, 1, 0, 2, 1, 0, 0, 1, 0)
MINUTE_MS: Final = 60_000
MONTH_MS: Final = 30 * DAY_MS
CATEGORIES: Final = ("groceries", "dining", "transport", "utilities", "telecom", "health", "clothing", "household", "leisure")


@dataclass(frozen=True, slots=True)
class Load:
    """How much: ``events`` in all over ``accounts``, in ``days`` from ``start_ms`` on."""

    events: int
    accounts: int
    start_ms: int
    days: int = 90
    skew: float = 1.0
    seed: int = 1
    hot_share: float = 0.0


def account_name(number: int) -> str:
    """The id of the number-th account."""
    return f"account-{number:07d}"


def ranked(load: Load) -> list[str]:
    """All accounts, the busiest one first."""
    names = [account_name(number) for number in range(load.accounts)]
    Random(f"{load.seed}/ranks").shuffle(names)
    return names


def profiles(load: Load) -> Iterator[Arrival]:
    """A snapshot of each account, at the beginning: employed, with an income, and an application for a limit."""
    moment = instant(load.start_ms)
    for number in range(load.accounts):
        account = account_name(number)
        value = {
            "event_id": f"{account}-profile",
            "account_id": account,
            "occurred_at": moment,
            "as_of": moment,
            "segment": "individual",
            "status": "active",
            "opened_on": date_of(load.start_ms - 400 * DAY_MS),
            "jurisdiction": "CN",
            "applied_at": moment,
            "identity_verified_until": date_of(load.start_ms + 2_000 * DAY_MS),
            "consent_at": date_of(load.start_ms),
            "credit_record": {"months": 40, "completeness_percent": 90, "delinquencies_24m": 0},
            "external_debt_minor": 0,
            "employment": "job",
            "income": {"monthly_minor": 900_000 + number % 50 * 20_000, "proof": "documented", "as_of": moment},
            "exposure_minor": 0,
            "currency": "CNY",
        }
        yield Arrival(load.start_ms, number, "account-profiles", account.encode(), encode(value))


def events(load: Load) -> Iterator[Arrival]:
    """The events in order of time."""
    rng = Random(f"{load.seed}/load")
    step_ms = load.days * DAY_MS / max(1, load.events)
    shares = list(accumulate((rank + 1) ** -load.skew for rank in range(load.accounts)))
    names = ranked(load)
    for number in range(load.events):
        is_hot = load.hot_share and rng.random() < load.hot_share
        account = names[0 if is_hot else bisect(shares, rng.random() * shares[-1], hi=load.accounts - 1)]
        yield event(rng, number, account, load.start_ms + 1 + int(number * step_ms))


def two_days(load: Load) -> Iterator[Arrival]:
    """An event of each account in the first minute, and the events of the load, evenly over the accounts, two days later."""
    rng = Random(f"{load.seed}/two-days")
    for number in range(load.accounts):
        yield event(rng, number, account_name(number), load.start_ms + 1 + number * MINUTE_MS // load.accounts)
    for number in range(load.events):
        at_ms = load.start_ms + 2 * DAY_MS + number * MINUTE_MS // load.events
        yield event(rng, load.accounts + number, account_name(rng.randrange(load.accounts)), at_ms)


def event(rng: Random, number: int, account: str, at_ms: int) -> Arrival:
    """The number-th event, of this account at this time."""
    topic = TOPICS[MIX[number % len(MIX)]]
    amount = rng.randrange(500, 60_000)
    head = f'{{"event_id":"e-{number:09d}","account_id":"{account}","occurred_at":"{instant(at_ms)}","currency":"CNY"'
    return Arrival(at_ms, number, topic, account.encode(), f"{head},{_own_fields(topic, rng, amount, at_ms)}}}".encode())


def _own_fields(topic: str, rng: Random, amount: int, at_ms: int) -> str:
    """What a record of this topic has besides the head."""
    if topic == "purchases":
        category = CATEGORIES[rng.randrange(len(CATEGORIES))]
        rest = f'"category":"{category}","channel":"app","merchant_id":"m-{rng.randrange(2_000)}","funded_by":"own"'
    elif topic == "transfers":
        direction, purpose = (("in", "salary"), ("in", "other"), ("out", "rent"), ("out", "person"))[rng.randrange(4)]
        rest = f'"direction":"{direction}","counterparty_id":"c-{rng.randrange(2_000)}","purpose":"{purpose}"'
    else:
        due = instant((at_ms // MONTH_MS + 1) * MONTH_MS - DAY_MS // 2)
        rest = f'"loan_id":"l-{rng.randrange(2)}","due_at":"{due}","amount_due_minor":{amount}'
    return f'"amount_minor":{amount},{rest}'
