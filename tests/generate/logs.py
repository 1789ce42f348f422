"""A random log of one to three accounts: what happens, and what real streams do to it.

No record is a dead letter by its time (docs/policy.md §1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final
from zlib import crc32

from engine.policy.document import Policy
from tests.generate.words import AMOUNTS, DATES, FIGURE_WORDS, NUMBERS, START, WORDS
from tests.oracle.account import OracleAccount
from tests.oracle.line import Line
from tests.oracle.portfolio import Portfolio
from tests.oracle.records import Applied, Command, Forget, Granted, Posting, Profile, Purchase, Record, Repayment, Transfer
from tests.oracle.time_rules import DAY_MS, HOUR_MS, day_of, dead_letter, horizon_ms, midnight

HUGE: Final = 2**53 - 1
ELSE: Final = {"jurisdiction": "XX", "employment": "other", "income_proof": "estimated"}  # words that no generated policy names
CAUSES: Final = ("customer", "takeover", "risk_desk", "arrears", "legal")
COMMANDS: Final = {
    "freeze": 10,
    "unfreeze": 16,
    "hold": 5,
    "override": 8,
    "release": 12,
    "set_temporary_limit": 10,
    "request_increase": 12,
    "set_ceiling": 8,
    "accept_offer": 6,
    "decline_offer": 2,
    "opt_out": 2,
    "close": 2,
}
# What an account is given to: weights of purchase, transfer, repayment, profile, command, repetition, reversal, forget.
MOODS: Final[dict[str, tuple[int, ...]]] = {
    "plain": (30, 25, 20, 8, 5, 5, 7, 1),
    "borrower": (5, 5, 70, 4, 3, 5, 8, 0),  # more than 36 instalments in a longer log
    "spender": (50, 30, 8, 2, 2, 3, 5, 0),  # more than 32 movements
    "restless": (5, 5, 10, 40, 25, 10, 5, 8),  # closed, reopened, frozen, granted, forgotten
    "commanded": (4, 4, 10, 22, 50, 5, 5, 2),
    "calm": (12, 12, 1, 35, 30, 5, 5, 0),  # pays, and is offered more
    "calm ": (2, 2, 0, 50, 40, 3, 3, 1),
}
ACTIONS: Final = ("purchase", "transfer", "repayment", "profile", "command", "repetition", "reversal", "forget")


@dataclass
class _Customer:
    """One account as far as its next record depends on it; ``account`` is what came of the last ones."""

    account_id: str
    mood: str
    account: OracleAccount
    given: list[Record] = field(default_factory=list)
    status: str = "active"
    as_of: int | None = None

    @property
    def is_calm(self) -> bool:
        """Whether nothing is amiss with this customer."""
        return self.mood.startswith("calm")


def random_log(policy: Policy, random: Random, n: int) -> list[Record]:
    """A log of ``n`` records in the order in which the shard takes them."""
    return _Writer(policy, random).log(n)


class _Writer:
    """Writes one log; ``record_time`` is that of the next record."""

    def __init__(self, policy: Policy, random: Random) -> None:
        self.policy = policy
        self.random = random
        self.horizon = horizon_ms(policy)
        self.record_time = START + random.randint(0, 20 * DAY_MS)
        self.clock = self.record_time
        self.written = 0
        self.has_huge_amounts = self.chance(5)
        self.gaps = random.choice(((60, 25, 10, 5, 0, 0), (15, 15, 35, 28, 6, 1), (5, 5, 15, 45, 25, 5)))

    def chance(self, percent: int) -> bool:
        """True in about so many of a hundred calls."""
        return self.random.randint(0, 99) >= 100 - percent

    def weighted(self, items: tuple[str, ...], weights: tuple[int, ...]) -> str:
        """One of the items."""
        point = self.random.randint(0, sum(weights) - 1)
        for item, weight in zip(items, weights, strict=True):
            point -= weight
            if point < 0:
                return item
        raise AssertionError

    def log(self, n: int) -> list[Record]:
        moods, portfolio = tuple(MOODS), Portfolio()
        customers = [
            _Customer(
                f"account-{i}",
                self.random.choice(moods),
                OracleAccount(self.policy, lambda word: crc32(word.encode()) % 64, portfolio=portfolio),
            )
            for i in range(self.random.randint(1, 3))
        ]
        log: list[Record] = []
        while len(log) < n:
            offered = [customer for customer in customers if customer.account.line.offer is not None]
            record: Record | None
            if offered and self.chance(30):  # before the offer has expired
                customer = self.random.choice(offered)
                record = self.command(customer)
            else:
                self.pass_time()
                customer = self.random.choice(customers)
                record = self.record(customer)
            if record is not None and dead_letter(self.policy, record) is None:
                customer.given.append(record)
                customer.account.apply(record)
                log.append(record)
        return log

    # Time

    def pass_time(self) -> None:
        """On to the next record time, sometimes to the edge of an hour or a day."""
        units = (1, 10_000, HOUR_MS, DAY_MS, 7 * DAY_MS, 100 * DAY_MS)
        names = tuple(str(unit) for unit in units)
        unit = int(self.weighted(names, self.gaps))
        self.record_time += self.random.randint(0, 2) if unit == 1 else self.random.randint(unit // 4, 2 * unit)
        if self.chance(6):
            next_hour = (self.record_time // HOUR_MS + 1) * HOUR_MS
            next_midnight = midnight(self.policy, day_of(self.policy, self.record_time) + 1)
            edge = self.random.choice((next_hour, next_midnight)) + self.random.randint(-1, 1)
            self.record_time = max(self.record_time, edge)
        self.clock = max(self.clock, self.record_time)
        if self.chance(3):  # the wall clock's tick, when all topics were read to their end
            self.clock += self.random.randint(0, 3 * HOUR_MS)

    def occurred_at(self, customer: _Customer) -> int:
        """The time at the source: shortly before the record's, late, ahead, or the same as that of another record."""
        kinds = ("soon", "late", "very late", "ahead", "tied")
        match self.weighted(kinds, (70, 12, 6, 5, 7)):
            case "soon":
                return self.record_time - self.random.randint(0, 5_000)
            case "late":
                return self.record_time - self.random.randint(0, 5 * DAY_MS)
            case "very late":
                return self.record_time - self.random.choice((self.horizon, self.random.randint(0, self.horizon)))
            case "ahead":
                most = self.policy.too_far_ahead_seconds * 1000
                return self.record_time + self.random.choice((most, self.random.randint(0, most)))
            case _:
                return self.random.choice(customer.given).occurred_at if customer.given else self.record_time

    # Records

    def record(self, customer: _Customer) -> Record | None:
        if customer.as_of is None and self.chance(20):
            return self.profile(customer)
        match self.weighted(ACTIONS, MOODS[customer.mood]):
            case "purchase":
                return self.purchase(customer)
            case "transfer":
                return self.transfer(customer)
            case "repayment":
                return self.repayment(customer)
            case "profile":
                return self.profile(customer)
            case "command":
                return self.command(customer)
            case "repetition":
                return self.repetition(customer)
            case "forget":
                return Forget(**self.common(customer) | {"occurred_at": self.record_time})
            case _:
                return self.reversal(customer)

    def common(self, customer: _Customer) -> dict[str, Any]:
        """The fields of every record."""
        self.written += 1
        return {
            "account_id": customer.account_id,
            "event_id": f"e{self.written}",
            "occurred_at": self.occurred_at(customer),
            "record_time": self.record_time,
            "clock": self.clock,
            "source": self.random.choice((None, None, None, "core")),
        }

    def amount(self) -> int:
        if self.has_huge_amounts and self.chance(20):
            return HUGE - self.random.randint(0, 1)
        return self.random.choice(AMOUNTS)

    def word(self, name: str) -> str | None:
        """A word of the policy's, an unknown one, or none."""
        match self.weighted(("known", "unknown", "none"), (88, 6, 6)):
            case "known":
                return self.random.choice(WORDS[name])
            case "unknown" if name not in ("funded_by", "direction", "purpose"):
                return f"unknown-{self.random.randint(0, 9)}"
            case _:
                return None

    def purchase(self, customer: _Customer) -> Purchase:
        words: dict[str, Any] = {name: self.word(name) for name in ("product", "category", "channel", "merchant_id", "funded_by")}
        return Purchase(**self.common(customer), amount_minor=self.amount(), **words)

    def transfer(self, customer: _Customer) -> Transfer:
        words: dict[str, Any] = {name: self.word(name) for name in ("product", "direction", "counterparty_id", "purpose")}
        return Transfer(**self.common(customer), amount_minor=self.amount(), **words)

    def repayment(self, customer: _Customer) -> Repayment:
        """A payment on a new instalment, or one more on an earlier one: early, late, in part, too much or nothing."""
        common = self.common(customer)
        unpaid = self.unpaid(customer)
        if unpaid and self.chance(20 if customer.mood == "borrower" else 60):
            loan_id, due_at, due, rest = self.random.choice(unpaid[:3])
        else:
            loan_id, due_at, due = self.instalment(customer, common["occurred_at"])
            rest = due
        amounts = {"rest": rest, "none": 0, "half": due // 2, "nearly": max(0, rest - 100), "over": 2 * due}
        weights = (25, 40, 15, 10, 10) if customer.mood == "borrower" else (70, 7, 9, 7, 7)
        kind = self.weighted(tuple(amounts), weights)
        return Repayment(
            **common,
            amount_minor=min(amounts[kind], HUGE),
            product=self.word("product"),
            loan_id=loan_id,
            due_at=due_at,
            amount_due_minor=due,
        )

    def unpaid(self, customer: _Customer) -> list[tuple[str, int, int, int]]:
        """What the customer was asked for and has not paid: (loan_id, due_at, due, rest)."""
        rests: dict[tuple[str, int], int] = {}
        dues: dict[tuple[str, int], int] = {}
        for record in customer.given:
            if isinstance(record, Repayment):
                key = (record.loan_id, record.due_at)
                dues[key] = record.amount_due_minor
                paid = record.amount_minor if record.reverses_at is None else -record.amount_minor
                rests[key] = rests.get(key, record.amount_due_minor) - paid
        return [(*key, dues[key], rest) for key, rest in rests.items() if rest > 0]

    def instalment(self, customer: _Customer, at: int) -> tuple[str, int, int]:
        """A new instalment, due around ``at``, or any earlier one, maybe with another due: (loan_id, due_at, due)."""
        earlier = [record for record in customer.given if isinstance(record, Repayment)]
        if earlier and self.chance(20):
            first = self.random.choice(earlier)
            return first.loan_id, first.due_at, self.amount() if self.chance(20) else first.amount_due_minor
        due_at = at + self.random.randint(-3 * 24, 20 * 24) * HOUR_MS
        if self.chance(6):
            due_at += self.random.choice((-60, 60)) * DAY_MS
        return f"loan-{self.random.randint(1, 3)}", due_at, self.amount()

    def reversal(self, customer: _Customer) -> Posting | None:
        """A reversal of an earlier posting, in full or in part, or of one that never came."""
        postings = [r for r in customer.given if not isinstance(r, Profile | Command | Forget) and r.reverses_at is None]
        if not postings:
            return None
        if self.chance(15):
            original: Posting = self.random.choice((self.purchase, self.transfer, self.repayment))(customer)
            if self.chance(20):
                original = replace(original, occurred_at=original.occurred_at + self.random.randint(-400, 3) * DAY_MS)
        else:
            original = self.random.choice(postings[-20:])
        full = self.chance(60)
        common = self.common(customer)
        amount = original.amount_minor if full else self.random.randint(0, original.amount_minor)
        return replace(original, **common, amount_minor=amount, reverses_at=original.occurred_at, reverses_full=full)

    def repetition(self, customer: _Customer) -> Record | None:
        """A record once more: most often one of the last, sometimes one that the account has forgotten."""
        if not customer.given:
            return None
        recent = customer.given if self.chance(20) else customer.given[-16:]
        again = self.random.choice(recent)
        changes: dict[str, Any] = {"record_time": self.record_time, "clock": self.clock}
        if self.chance(10):
            changes["source"] = "elsewhere"  # so that it is another event after all
        return replace(again, **changes)

    def profile(self, customer: _Customer) -> Profile:
        common = self.common(customer)
        as_of = common["occurred_at"] - self.random.choice((0, 0, HOUR_MS, DAY_MS, 3 * DAY_MS))
        if customer.as_of is not None and self.chance(12):
            as_of = customer.as_of - self.random.choice((0, 1, DAY_MS))
        customer.as_of = as_of if customer.as_of is None else max(customer.as_of, as_of)
        customer.status = self.status(customer)
        today = day_of(self.policy, self.record_time)
        figures: dict[str, int | str] = {"status": customer.status} if self.chance(95) else {}
        for name in ("employment", "income_proof", "jurisdiction"):
            if self.chance(70):
                figures[name] = self.random.choice((*FIGURE_WORDS[name], ELSE[name]))
        for name in DATES:
            if self.chance(15 if name == "opted_out_at" or (name == "consent_at" and customer.is_calm) else 60):
                figures[name] = today + self.random.choice((-400, -60, -30, -3, -1, 0, 0, 1, 90))
        numbers = {name: self.random.randint(low, high) for name, (low, high) in NUMBERS.items() if self.chance(65)}
        prefix = "attributes."
        return Profile(
            **common,
            as_of=as_of,
            segment=self.random.choice(("individual", "individual", "enterprise")),
            applied_at=common["occurred_at"] - self.random.choice((0, DAY_MS)) if self.chance(40 if customer.is_calm else 75) else None,
            requested_limit_minor=self.random.choice((0, 9_500, 120_000)) if self.chance(25) else None,
            exposure_minor=self.random.choice((0, 1, 5_000, 40_000, 250_000)) if self.chance(75) else None,
            granted=self.granted(today, is_small=customer.is_calm) if self.chance(60 if customer.is_calm else 20) else None,
            applied=Applied(customer.account.sequence + self.random.choice((0, 0, 0, -1, 1)), self.limit(customer.account.line))
            if self.chance(40)
            else None,
            corrects=self.chance(15),
            figures=figures | {name: number for name, number in numbers.items() if not name.startswith(prefix)},
            attributes={name.removeprefix(prefix): n for name, n in numbers.items() if name.startswith(prefix)},
        )

    def status(self, customer: _Customer) -> str:
        """The next status: closed now and then, and open again after that."""
        if customer.status not in ("active", "dormant", "forbearance"):
            return "active" if self.chance(60) else customer.status
        if self.chance(5):
            return "forbearance"
        if customer.is_calm and self.chance(80):
            return "active"
        return self.random.choice(FIGURE_WORDS["status"]) if self.chance(8) else "active"

    def granted(self, today: int, *, is_small: bool) -> Granted:
        segment = self.random.choice(self.policy.segments)
        if is_small and self.chance(80):
            return Granted(self.random.choice((0, 7, segment.bands[0].limit_minor)), segment.bands[0].name, today - 100)
        band = self.random.choice(segment.bands)
        limit = self.random.choice((0, band.limit_minor, segment.bands[-1].limit_minor, 3 * segment.bands[-1].limit_minor))
        name = "band_of_old" if self.chance(20) else band.name
        return Granted(limit, name, today - self.random.choice((0, 5, 100)))

    def command(self, customer: _Customer) -> Command:
        """A command with sensible or senseless arguments."""
        common = self.common(customer)
        line = customer.account.line
        given: dict[str, Any] = {}
        kind = self.command_kind(line, is_calm=customer.is_calm)
        match kind:
            case "freeze":
                given["cause"] = self.random.choice(CAUSES)
            case "unfreeze":
                given["cause"] = self.random.choice([cause for cause in CAUSES if cause in line.blocks] or CAUSES)
            case "hold":
                given["until"] = self.end()
            case "override" | "set_temporary_limit":
                given = {"until": self.end(), "limit_minor": self.limit(line), "second_person": self.chance(80)}
            case "release":
                held = {"hold": line.hold_until, "override": line.override, "temporary": line.temporary}
                given["of"] = self.random.choice([of for of, end in held.items() if end is not None] or tuple(held))
            case "request_increase":
                given["limit_minor"] = self.limit(line)
            case "set_ceiling":
                given["limit_minor"] = self.limit(line) if self.chance(40) else None
            case "accept_offer" | "decline_offer":
                given["offer_id"] = self.offer_id(line)
        return Command(**common, kind=kind, **given)

    def command_kind(self, line: Line, *, is_calm: bool) -> str:
        """Any kind; most often one for which there is something to do."""
        if line.offer is not None and self.chance(65):
            return self.random.choice(("accept_offer", "accept_offer", "decline_offer", "override"))
        if line.standing != "open" and self.chance(60):
            return self.random.choice(("set_ceiling", "opt_out", "accept_offer"))
        if line.blocks & set(CAUSES) and self.chance(30):
            return "unfreeze"
        if is_calm and self.chance(75):
            return self.random.choice(("request_increase", "request_increase", "set_temporary_limit", "override", "release"))
        return self.weighted(tuple(COMMANDS), tuple(COMMANDS.values()))

    def limit(self, line: Line) -> int:
        """A limit as an operator or a customer names one: one of a band's, or a little more or less than the line's."""
        bands = self.random.choice(self.policy.segments).bands
        limit = self.random.choice((line.limit, self.random.choice(bands).limit_minor))
        return self.random.choice((limit, limit, limit + 1, limit * 3 // 2, limit // 3, 20 * limit))

    def end(self) -> int:
        """When something ends: in hours or days, now, in the past, or far too late."""
        days = self.weighted(("-1", "0", "1", "3", "7", "40", "500"), (5, 3, 40, 25, 18, 6, 3))
        hours = self.random.choice((0, 0, -1, 5))
        return self.clock + int(days) * DAY_MS + hours * HOUR_MS

    def offer_id(self, line: Line) -> str:
        """The line's offer, another number, or no offer's name."""
        number = self.random.randint(1, 6) if line.offer is None else line.offer[0]
        match self.weighted(("right", "other", "zero", "text"), (85, 9, 3, 3)):
            case "right":
                return f"offer-{number}"
            case "other":
                return f"offer-{number + 1}"
            case "zero":
                return f"offer-0{number}"
            case _:
                return self.random.choice(("offer", f"offer-{number} ", f"offer-{number + 2**64}"))
