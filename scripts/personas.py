"""Synthetic customers: seeded lives of people and shops, as the records that their banks and lenders would publish.

A life is a generator of ``Item`` in order of occurred_at. It plays the customer and, as far as the customer's own records need it, the core
banking system: draws become loans of monthly instalments, each instalment gets one repayment record per payment and, when nothing came, one
at the end of its due day; a profile snapshot is taken every month. The same seed gives the same life on every machine.

Amounts are in fen. Nobody here is real, and nothing reads the limits that the engine decides: a life is the same under every policy, which
is what makes two policies comparable on it. Who answers the engine is ``scripts/counterpart.py``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, Final

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
CHINA: Final = timezone(timedelta(hours=8))

EVERYDAY: Final = ("groceries", "dining", "transport", "utilities", "telecom", "health", "clothing", "household", "leisure")
STOCK: Final = ("raw_materials", "wholesale", "logistics", "equipment")


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One record to publish: when it happened, on which topic, and its value as the contract wants it."""

    at_ms: int
    order: str  # makes items of one instant comparable: topic and event id
    topic: str = field(compare=False)
    value: dict[str, Any] = field(compare=False)


def instant(at_ms: int) -> str:
    """RFC 3339 in China's time."""
    return datetime.fromtimestamp(at_ms / 1000, CHINA).isoformat(timespec="milliseconds")


def date_of(at_ms: int) -> str:
    """Calendar date in China."""
    return datetime.fromtimestamp(at_ms / 1000, CHINA).date().isoformat()


@dataclass
class Customer:
    """One customer's account book: what was borrowed and repaid when, and the records so far (a loan writes its instalments ahead)."""

    account_id: str
    rng: Random
    start_ms: int
    days: int
    segment: str = "individual"
    serial: int = 0
    items: list[Item] = field(default_factory=list)
    debts: list[tuple[int, int]] = field(default_factory=list)  # (when, how much more is owed)

    def at(self, day: float, hour: float = 12.0) -> int:
        """Some minutes around an hour of a day of this life (0 = its first day)."""
        return self.start_ms + int((day * 24 + hour) * HOUR_MS) + self.rng.randrange(20 * 60_000)

    def record(self, topic: str, at_ms: int, **value: Any) -> dict[str, Any]:
        """Add a record with the fields that every event has."""
        self.serial += 1
        event_id = f"{self.account_id}-{self.serial}"
        full = {"event_id": event_id, "account_id": self.account_id, "occurred_at": instant(at_ms), "currency": "CNY", **value}
        self.items.append(Item(at_ms, f"{topic}/{self.serial:08d}", topic, full))
        return full

    def purchase(self, at_ms: int, amount: int, category: str, merchant: str, funded_by: str = "own", channel: str = "app") -> None:
        """Buy something."""
        if funded_by == "credit":
            self.debts.append((at_ms, amount))
        self.record("purchases", at_ms, amount_minor=amount, category=category, channel=channel, merchant_id=merchant, funded_by=funded_by)

    def transfer(self, at_ms: int, amount: int, direction: str, counterparty: str, purpose: str) -> None:
        """Move money in or out."""
        self.record("transfers", at_ms, amount_minor=amount, direction=direction, counterparty_id=counterparty, purpose=purpose)

    def repay(self, at_ms: int, loan: str, due_ms: int, due: int, amount: int) -> None:
        """Pay (part of) an instalment; 0 is the core's note at the end of a due day on which nothing came."""
        self.debts.append((at_ms, -amount))
        self.record("repayments", at_ms, loan_id=loan, due_at=instant(due_ms), amount_due_minor=due, amount_minor=amount)

    def borrow(
        self, day: float, amount: int, months: int, pays: Callable[[Random, int], list[tuple[float, float]]], hour: float = 11
    ) -> int:
        """Draw on the line and live with the instalments; ``pays(rng, due_day)`` gives (days after due, share of the due) of the one due on that
        day. Returns when the money came."""
        loan = f"{self.account_id}-L{self.serial}"
        due = amount * (100 + 2 * months) // (100 * months)
        drawn_ms = self.at(day, hour)
        self.debts.append((drawn_ms, due * months))
        self.transfer(drawn_ms, amount, "in", "lender", "draw")
        for n in range(1, months + 1):
            due_day = int(day) + 30 * n
            due_ms = self.start_ms + due_day * DAY_MS + 20 * HOUR_MS
            if due_day >= self.days:
                break
            payments = pays(self.rng, due_day)
            for after, share in payments:
                if due_day + after < self.days:
                    self.repay(self.at(due_day + after, 10), loan, due_ms, due, int(due * share))
            if not any(after <= 0 for after, _ in payments):
                self.repay(self.start_ms + due_day * DAY_MS + 24 * HOUR_MS - 60_000, loan, due_ms, due, 0)
        return drawn_ms

    def command(self, at_ms: int, kind: str, **wish: Any) -> None:
        """Ask for something in the app."""
        self.serial += 1
        who = {"command_id": f"{self.account_id}-{self.serial}", "account_id": self.account_id, "issued_at": instant(at_ms)}
        value = {**who, "issued_by": "app", "reason": "asked for in the app", "kind": kind, **wish}
        self.items.append(Item(at_ms, f"limit-commands/{self.serial:08d}", "limit-commands", value))

    def by_desk(self, at_ms: int, kind: str, **wish: Any) -> None:
        """Let somebody at the risk desk decide something."""
        self.command(at_ms, kind, **{"issued_by": "desk-4", "reason": "decided at the risk desk"} | wish)

    def profile(self, day: int, hour: float = 0, **figures: Any) -> None:
        """A snapshot of what the core and the CRM know."""
        at_ms = self.start_ms + day * DAY_MS + int(hour * HOUR_MS)
        base: dict[str, Any] = {
            "as_of": instant(at_ms),
            "segment": self.segment,
            "status": "active",
            "jurisdiction": "CN",
            "opened_on": date_of(self.start_ms - 400 * DAY_MS),
            "applied_at": instant(self.start_ms),
            "identity_verified_until": date_of(self.start_ms + 1500 * DAY_MS),
            "consent_at": date_of(self.start_ms - DAY_MS),
        }
        self.record("account-profiles", at_ms + 1, **(base | figures))

    def story(self) -> list[Item]:
        """The records in order of occurred_at, each snapshot with what was owed (principal and interest) at its moment."""
        debts = sorted(self.debts)
        owed = place = 0
        self.items.sort()
        for item in self.items:
            while place < len(debts) and debts[place][0] < item.at_ms:
                owed = max(0, owed + debts[place][1])
                place += 1
            if item.topic == "account-profiles":
                item.value["exposure_minor"] = owed
        return self.items

    def shop(self, day: int, per_day: float, low: int, high: int, merchants: int = 25, categories: tuple[str, ...] = EVERYDAY) -> None:
        """Everyday purchases of a day."""
        count = int(per_day) + (self.rng.random() < per_day % 1)
        for _ in range(count):
            merchant = f"m{self.rng.randrange(merchants)}"
            self.purchase(self.at(day, self.rng.uniform(8, 21)), self.rng.randrange(low, high), self.rng.choice(categories), merchant)


def promptly(rng: Random, _due_day: int) -> list[tuple[float, float]]:
    """Pays each instalment in full on its day or a day before."""
    return [(-float(rng.randrange(2)), 1.0)]


def never(_rng: Random, _due_day: int) -> list[tuple[float, float]]:
    """Pays nothing."""
    return []


def person(monthly: int, /, **more: Any) -> dict[str, Any]:
    """Profile figures of a person with a documented monthly income."""
    figures: dict[str, Any] = {
        "employment": "job",
        "debt_service_monthly_minor": monthly // 10,
        "external_limits_minor": 0,
        "external_debt_minor": 0,
        "credit_record": {"months": 60, "completeness_percent": 90, "delinquencies_24m": 0, "persistent_debt_months": 0},
    }
    return figures | more


def steady_payer(c: Customer) -> None:
    """A clerk: a salary on the same day each month, everyday purchases, a small loan now and then, always paid on time."""
    income = c.rng.randrange(900_000, 1_500_000)
    for day in range(c.days):
        if day % 30 == 0:
            c.profile(day, **person(income, income={"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}))
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
            c.transfer(c.at(day, 20), income // 5, "out", "fund", "wealth")
        if day % 60 == 42:
            c.borrow(day, income // 3, 2, promptly)
        c.shop(day, 1.2, 1_500, 30_000)


def growing_shop(c: Customer) -> None:
    """A shop whose customers become more each month; borrows for stock, pays on time."""
    c.segment = "enterprise"
    for day in range(c.days):
        takings = 3 + day / 20
        if day % 30 == 0:
            revenue = int(takings * 60_000 * 365)
            c.profile(
                day,
                business={
                    "revenue_yearly_minor": revenue,
                    "bank_flow_monthly_minor": revenue // 13,
                    "ecosystem_activity_monthly": int(takings * 30),
                },
                external_debt_minor=revenue // 20,
                credit_record={"months": 48, "completeness_percent": 95, "delinquencies_24m": 0},
                related=[{"party_id": f"{c.account_id}-owner", "role": "principal", "eligible": True, "days_past_due": 0}],
                attributes={"tax_grade": 4},
            )
        for _ in range(int(takings) + (c.rng.random() < takings % 1)):
            c.transfer(c.at(day, c.rng.uniform(9, 21)), c.rng.randrange(20_000, 120_000), "in", f"b{c.rng.randrange(60)}", "other")
        if day % 3 == 0:
            c.purchase(c.at(day, 7), int(takings * 90_000), c.rng.choice(STOCK), f"s{c.rng.randrange(12)}")
        if day % 60 == 15:
            c.borrow(day, int(takings * 400_000), 3, promptly)


def over_borrower(c: Customer) -> None:
    """Lives on loans: once trusted, draws at night until the line is full, gambles, borrows here to pay there; pays later and later, then not
    at all."""
    income = 600_000
    gives_up = c.days * 3 // 5

    def pays(rng: Random, due_day: int) -> list[tuple[float, float]]:
        if due_day >= gives_up:
            return []
        late = max(0, due_day - gives_up // 2) // 6
        return [(float(late), 1.0)] if late < 4 else [(float(late), 0.6), (float(late + rng.randrange(2, 5)), 0.4)]

    for day in range(c.days):
        burden = 15 + day // 6
        if day % 30 == 0:
            c.profile(
                day,
                **person(
                    income,
                    income={"monthly_minor": income, "proof": "stated", "as_of": instant(c.at(day))},
                    debt_service_monthly_minor=income * min(burden, 90) // 100,
                    external_debt_minor=income * burden // 10,
                    external_limits_minor=income * burden // 20,
                    credit_record={"months": 30, "completeness_percent": 80, "delinquencies_24m": day // 60},
                ),
            )
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income - c.rng.randrange(200_000), "in", "employer", "salary")
        elsewhere = 300_000 + day * 2_000
        if day % 12 == 5:
            c.transfer(c.at(day, 22.5), elsewhere, "in", f"lender{c.rng.randrange(6)}", "loan")
        if day % 12 == 8:
            c.transfer(c.at(day, 9.5), elsewhere * 4 // 5, "out", f"lender{c.rng.randrange(6)}", "loan")
        if day == 33:
            c.borrow(day, 300_000, 9, pays, hour=23.5)
        if 36 < day < 80 and day % 12 == 5:
            c.borrow(day, 40_000 if day < 60 else 120_000, 6, pays, hour=23.5)
        if day > 30 and day % 4 == 0:
            on_credit = day % 12 == 0 and day < 100
            c.purchase(c.at(day, 22), c.rng.randrange(20_000, 80_000), "lottery", "m-lottery", "credit" if on_credit else "own")
        c.shop(day, 1.0, 2_000, 60_000, merchants=10)


def late_payer(c: Customer) -> None:
    """Loses a job for two months, falls behind, then pays everything and is on time again."""
    income = 1_000_000
    lost, found = c.days // 3, c.days // 3 + 70

    def pays(rng: Random, due_day: int) -> list[tuple[float, float]]:
        return [(float(found - due_day + rng.randrange(3)), 1.0)] if lost <= due_day < found else [(0.0, 1.0)]

    for day in range(c.days):
        if day % 30 == 0:
            c.profile(day, **person(income, income={"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}))
        if day % 30 == 9 and not lost <= day < found:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
        c.shop(day, 0.4 if lost <= day < found else 1.3, 1_500, 25_000)
        if day % 45 == 35 and not lost - 20 <= day < found + 170:  # nobody lends again before half a year of paying on time
            c.borrow(day, 400_000, 6, pays)


@dataclass(frozen=True, slots=True)
class Theft:
    """How an account is emptied: nobody's habit, so no two are alike."""

    day: int
    hour: float
    gap_h: float  # from one transfer to the next
    shares: tuple[int, ...]  # what each mule gets
    draws: int  # so many large ones before the transfers; 0: before each transfer what it takes
    device_changed_h: float | None  # hours before
    contact_changed: bool
    quiet_days: int  # days before on which nothing was seen of the customer


def theft_of(c: Customer) -> Theft:
    """A theft in the third quarter of the story: at night or by day, on a new device or on the customer's own, in minutes or over an evening."""
    day = c.days // 2 + c.rng.randrange(c.days // 4 + 1)
    hour = c.rng.uniform(0, 4) if c.rng.random() < 0.5 else c.rng.uniform(6, 22)
    gap_h = c.rng.uniform(2, 20) / 60 if c.rng.random() < 0.9 else c.rng.uniform(20, 60) / 60
    shares = tuple(c.rng.randrange(150_000, 600_000) for _ in range(c.rng.randrange(8, 15)))
    changed_h = c.rng.uniform(0.2, 40) if c.rng.random() < 0.75 else None
    quiet_days = c.rng.randrange(15, 90) if c.rng.random() < 0.4 else 0
    return Theft(day, hour, gap_h, shares, c.rng.choice((0, 0, 0, 1, 3)), changed_h, c.rng.random() < 0.4, quiet_days)


def changed_by(c: Customer, theft: Theft) -> tuple[int, dict[str, Any]]:
    """When the thief changed device or contact details, and what profiles tell of it from then on."""
    begins_ms = c.start_ms + theft.day * DAY_MS + int(theft.hour * HOUR_MS)
    changed_ms = max(c.start_ms + 60_000, begins_ms - int((theft.device_changed_h or 0) * HOUR_MS))
    changes: dict[str, Any] = {}
    if theft.device_changed_h is not None:
        changes["device_changed_at"] = date_of(changed_ms)
    if theft.contact_changed:
        changes["contact_changed_at"] = date_of(changed_ms)
    return changed_ms, changes


def hijacked(c: Customer) -> None:
    """A good customer, perhaps a quiet one, whose account is emptied within hours in the third quarter of the story; nobody repays what was
    stolen."""
    income = 1_200_000
    theft = theft_of(c)
    changed_ms, changes = changed_by(c, theft)
    proven = person(income, income={"monthly_minor": income, "proof": "documented", "as_of": instant(c.start_ms)})

    for day in range(c.days):
        is_changed = c.start_ms + day * DAY_MS > changed_ms
        if day % 30 == 0:
            c.profile(day, **proven, **(changes if is_changed else {}))
        if theft.day - theft.quiet_days <= day:
            continue
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
        if day % 30 == 11:
            c.transfer(c.at(day, 10), income // 4, "out", "landlord", "rent")
        if c.rng.random() < 0.08:
            c.transfer(c.at(day, c.rng.uniform(8, 23)), c.rng.randrange(5_000, 60_000), "out", f"friend{c.rng.randrange(12)}", "person")
        if day % 3 == 0:
            c.shop(day, 1.0, 2_000, 20_000)
    if changes:
        day, since_ms = divmod(changed_ms - c.start_ms, DAY_MS)
        c.profile(day, since_ms / HOUR_MS, **proven, **changes)
    steal(c, theft)


def steal(c: Customer, theft: Theft) -> None:
    """Draw, and send on to mules."""
    total = sum(theft.shares)
    for burst in range(theft.draws):
        c.borrow(theft.day, total // theft.draws, 1, never, hour=theft.hour + burst * theft.gap_h)
    at_hour = theft.hour + (theft.draws * theft.gap_h + 0.4 if theft.draws else 0)  # a draw comes up to 20 minutes late
    for mule, share in enumerate(theft.shares):
        if theft.draws:
            sent_ms = c.at(theft.day, at_hour + mule * theft.gap_h)
        else:
            sent_ms = c.borrow(theft.day, share, 1, never, hour=at_hour + mule * theft.gap_h) + 60_000
        c.transfer(sent_ms, share - share % 1_000, "out", f"{c.account_id}-mule{mule}", "person")


def hijacked_shop(c: Customer) -> None:
    """A growing shop whose account is emptied, by five times what a person's holds."""
    growing_shop(c)
    theft = theft_of(c)
    changed_ms, changes = changed_by(c, theft)
    if changes:
        newest = max(item for item in c.items if item.topic == "account-profiles" and item.at_ms < changed_ms).value
        told = ("business", "external_debt_minor", "credit_record", "related", "attributes")
        c.profile(0, (changed_ms - c.start_ms) / HOUR_MS, **{name: newest[name] for name in told}, **changes)
    steal(c, replace(theft, shares=tuple(5 * share for share in theft.shares)))


def student(c: Customer) -> None:
    """No income and no job: may use the account, is granted nothing."""
    for day in range(c.days):
        if day % 30 == 0:
            c.profile(day, employment="student", credit_record={"months": 2, "completeness_percent": 20})
            c.transfer(c.at(day, 10), 200_000, "in", "parents", "person")
        c.shop(day, 0.8, 800, 6_000, merchants=8, categories=("groceries", "dining", "education", "telecom"))


def graduate(c: Customer) -> None:
    """A student with a job in a café, who may be lent nothing all the same; takes the degree, is without work for two months, and is granted a
    limit with the first salary."""
    side, income, degree, hired = 250_000, 900_000, 150, 210
    for day in range(c.days):
        if day % 30 == 0:
            employment = "student" if day < degree else "unemployed" if day < hired else "job"
            earns: dict[str, Any] = {}
            if not degree <= day < hired:
                monthly = side if day < degree else income
                earns = {"income": {"monthly_minor": monthly, "proof": "documented", "as_of": instant(c.at(day))}}
            c.profile(day, employment=employment, credit_record={"months": 2 + day // 30, "completeness_percent": 20}, **earns)
        if day % 30 == 8 and not degree <= day < hired:
            paid_by = "cafe" if day < degree else "employer"
            c.transfer(c.at(day, 10), side if day < degree else income, "in", paid_by, "salary")
        if day % 90 == 65 and day > hired:
            c.borrow(day, 60_000, 2, promptly)
        c.shop(day, 0.9, 800, 8_000, merchants=10, categories=("groceries", "dining", "education", "telecom", "transport"))


def dormant(c: Customer) -> None:
    """Was active for a month, then is not seen any more; the CRM says dormant."""
    income = 700_000
    for day in range(c.days):
        if day % 90 == 0:
            status = "active" if day < 90 else "dormant"
            c.profile(
                day, status=status, **person(income, income={"monthly_minor": income, "proof": "stated", "as_of": instant(c.at(day))})
            )
        if day < 30:
            c.shop(day, 0.7, 1_500, 15_000, merchants=6)


def mover(c: Customer) -> None:
    """An employee whose life looks like a theft for a week: a new phone, a move to another town, and a dozen people and firms who never were paid
    before; goes on paying on time."""
    income = c.rng.randrange(1_000_000, 1_600_000)
    moves = c.days // 3 + c.rng.randrange(c.days // 3 + 1)
    phone = moves - c.rng.randrange(5)
    bills = (
        "broker",
        "new-landlord",
        "removals",
        "electrician",
        "painter",
        "furniture",
        "grid",
        "water",
        "school",
        "gym",
        "cleaner",
        "internet",
    )

    for day in range(c.days):
        changed = {"device_changed_at": date_of(c.at(phone, 0)), "contact_changed_at": date_of(c.at(moves, 0))} if day > phone > 0 else {}
        if day % 30 == 0 or day == phone + 1:
            proven = {"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}
            c.profile(day, **person(income, income=proven, **changed))
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
        if day % 30 == 12:
            c.transfer(c.at(day, 9), income // 4, "out", "new-landlord" if day >= moves else "landlord", "rent")
        if c.rng.random() < 0.15:
            c.transfer(c.at(day, c.rng.uniform(8, 23.5)), c.rng.randrange(3_000, 80_000), "out", f"friend{c.rng.randrange(15)}", "person")
        if day == moves:
            c.borrow(day, income // 3, 3, promptly)
            c.transfer(c.at(day, 14), income * 2 // 3, "out", bills[1], "rent")
        if moves <= day < moves + 5:
            for bill in c.rng.sample(bills, c.rng.randrange(1, 4)):
                c.transfer(c.at(day, c.rng.uniform(8, 22)), c.rng.randrange(20_000, 150_000), "out", bill, "other")
        c.shop(day, 1.2, 1_500, 25_000)


def hidden_debts(c: Customer) -> None:
    """A clerk of whom nothing is known but good until the bureau's report of the seventh week: debts with other lenders, and behind with some.
    Pays here on time."""
    income, reported = 800_000, 45
    for day in range(c.days):
        if day % 30 == 0 or day == reported:
            figures: dict[str, Any] = {}
            if day >= reported:
                figures = {
                    "debt_service_monthly_minor": income * 52 // 100,
                    "external_debt_minor": income * 9,
                    "external_limits_minor": income * 4,
                    "credit_record": {"months": 60, "completeness_percent": 90, "delinquencies_24m": 6, "persistent_debt_months": 12},
                    "attributes": {"bureau_score": 480, "network_risk_percent": 30},
                }
            proven = {"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}
            c.profile(day, **person(income, income=proven, **figures))
        if day % 30 == 9:
            c.transfer(c.at(day, 8), income, "in", "employer", "salary")
        if day == 35:
            c.borrow(day, 100_000, 6, promptly)
        c.shop(day, 1.2, 1_500, 25_000)


def latecomer(c: Customer) -> None:
    """A manager who has an account for most of a year before applying for a limit, and is judged by all of it at once."""
    income, applies = c.rng.randrange(3_600_000, 6_000_000), 300
    for day in range(c.days):
        if day % 30 == 0:
            proven = {"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}
            applied = {"applied_at": None} if day < applies else {"applied_at": instant(c.at(applies - 1))}
            c.profile(day, **person(income, income=proven, **applied))
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
            c.transfer(c.at(day, 20), income // 3, "out", "fund", "wealth")
        if day % 30 == 12:
            c.transfer(c.at(day, 9), income // 5, "out", "landlord", "rent")
        if day == applies + 20:
            c.borrow(day, 2_000_000, 12, promptly)
        c.shop(day, 1.6, 3_000, 60_000)


def own_master(c: Customer) -> None:
    """A clerk who decides on credit alone: no consent to be raised unasked, so limits are offered; a ceiling of their own, lifted later; asks for
    more; in the end wants no offers any more. Nothing here answers an offer: see ``scripts/counterpart.py``."""
    income = c.rng.randrange(900_000, 1_500_000)
    for day in range(c.days):
        if day % 30 == 0:
            proven = {"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}
            c.profile(day, **person(income, income=proven, consent_at=None))
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
        match day:
            case 50 | 200:
                c.command(c.at(day, 19), "request_increase", requested_limit_minor=600_000 + day * 5_000)
            case 110:
                c.command(c.at(day, 20), "set_ceiling", ceiling_minor=300_000)
            case 170:
                c.command(c.at(day, 20), "set_ceiling")
            case 270:
                c.command(c.at(day, 8), "opt_out")
        c.shop(day, 1.1, 1_500, 30_000)


def by_hand(c: Customer) -> None:
    """A clerk whose line people work on, with wishes that are refused among them: asks before there is an account, loses the phone, marries, is
    looked into, ends the line and comes back ten days later."""
    income, applies, ends, returns = 1_200_000, 3, 240, 250
    for day in range(c.days):
        if day in (applies, returns) or (day > applies and day % 30 == 0):
            proven = {"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}
            applied = {"applied_at": instant(c.at(returns - 1))} if day >= returns else {}
            c.profile(day, **person(income, income=proven, **applied))
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
        c.shop(day, 1.2, 1_500, 30_000)
        at, wish, desk = c.at(day, 14), c.command, c.by_desk
        match day:
            case 1 | 46 | 97 | 245:
                wish(at, "request_increase", requested_limit_minor=3_000_000)
            case 44 | 45:
                wish(at, "freeze", cause="customer")
            case 48 | 49:
                wish(at, "unfreeze", cause="customer")
            case 50 | 86:
                desk(at, "set_temporary_limit", limit_minor=2_000_000, expires_at=instant(c.at(day + 30, 0)))
            case 52:
                desk(at, "set_temporary_limit", limit_minor=6_000_000, expires_at=instant(c.at(day + 30, 0)))
            case 53:
                desk(at, "set_temporary_limit", limit_minor=30_000_000, expires_at=instant(c.at(day + 30, 0)), approved_by="desk-1")
            case 90 | 91:
                desk(at, "release", of="temporary")
            case 95:
                desk(at, "hold", until=instant(c.at(125, 0)))
            case 98:
                desk(at, "override", limit_minor=500_000, until=instant(c.at(170, 0)))
            case 99:
                desk(at, "hold", until=instant(c.at(day + 200, 0)))
            case 100:
                desk(at, "hold", until=instant(c.at(day - 1, 0)))
            case 130:
                desk(at, "override", limit_minor=500_000, until=instant(c.at(170, 0)))
            case 175 | 176:
                wish(at, "set_ceiling", ceiling_minor=2_000_000)
            case 177:
                desk(at, "override", limit_minor=3_000_000, until=instant(c.at(200, 0)))
            case 178:
                wish(at, "set_ceiling")
            case 180:
                wish(at, "accept_offer", offer_id="offer-1")
            case 190 | 205:
                desk(at, "freeze", cause="risk_desk" if day == 190 else "legal")
            case 200 | 215:
                desk(at, "unfreeze", cause="risk_desk" if day == 200 else "legal")
            case _ if day == ends:
                wish(at, "close")


def came_along(c: Customer) -> None:
    """Bought with another lender's loans: a line above the legal cap and deep in use, paid back month by month, once ahead, with the line
    locked for a journey; dies in the last month."""
    income, owed, instalment = 2_500_000, 26_000_000, 2_600_000
    dies = c.days * 11 // 12
    c.debts.append((c.start_ms - DAY_MS, owed))
    granted = {"limit_minor": 30_000_000, "band": "premier", "since": date_of(c.start_ms - 300 * DAY_MS)}
    for day in range(c.days):
        if day % 30 == 0 or day == dies:
            proven = {"monthly_minor": income, "proof": "documented", "as_of": instant(c.at(day))}
            status = "deceased" if day >= dies else "active"
            c.profile(day, **person(income, income=proven, granted=granted, status=status))
        if day >= dies:
            continue
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
        if (day % 30 == 20 and day < 270) or day == 85:
            c.repay(c.at(day, 10), "bought", c.start_ms + day * DAY_MS + 20 * HOUR_MS, instalment, instalment)
        if day in (88, 95):
            c.command(c.at(day, 12), "freeze" if day == 88 else "unfreeze", cause="customer")
        c.shop(day, 1.5, 3_000, 60_000)


def careless(c: Customer) -> None:
    """Earns well and would be given more every month, were it not for something: pays one instalment six days late, lets the identity card
    lapse, asks for relief, works abroad, forgets to prove the income, buys a car and a flat on credit."""
    income = 1_500_000

    def pays(_rng: Random, due_day: int) -> list[tuple[float, float]]:
        return [(6.0 if due_day == 35 else 0.0, 1.0)]

    for day in range(c.days):
        if day % 30 == 0:
            proven_on = c.at(day) if day >= 210 else c.start_ms - 190 * DAY_MS
            figures: dict[str, Any] = {"income": {"monthly_minor": income, "proof": "documented", "as_of": instant(proven_on)}}
            if day < 120:
                figures["identity_verified_until"] = date_of(c.start_ms + 80 * DAY_MS)
            match day:
                case 120:
                    figures["status"] = "forbearance"
                case 150:
                    figures["jurisdiction"] = "HK"
                case 210 | 240:
                    figures["debt_service_monthly_minor"] = income * (50 if day == 210 else 60) // 100
            c.profile(day, **person(income, **figures))
        if day % 30 == 9:
            c.transfer(c.at(day, 9), income, "in", "employer", "salary")
            c.transfer(c.at(day, 20), income // 5, "out", "fund", "wealth")
        match day:
            case 5:
                c.borrow(day, 100_000, 1, pays)
            case 40:
                c.by_desk(c.at(day, 9), "freeze", cause="arrears")
            case 42:
                c.by_desk(c.at(day, 9), "unfreeze", cause="arrears")
        if day in (40, 50):
            temporary = {"limit_minor": 3_000_000, "expires_at": instant(c.at(day + 20, 0))}
            c.by_desk(c.at(day, 15), "set_temporary_limit", **temporary)
            c.command(c.at(day + 1, 8), "request_increase", requested_limit_minor=3_000_000)
        c.shop(day, 1.2, 1_500, 30_000)


def tangled_shop(c: Customer) -> None:
    """A shop that grows and has trouble with its papers and its family: a licence that lapses, a consent withdrawn, an owner and a relative
    who do not qualify, a register that calls it dormant and later moved abroad, debts elsewhere, a group that uses the common limit; in the end
    it disputes half an instalment, and never pays it."""
    c.segment = "enterprise"

    def half(_rng: Random, _due_day: int) -> list[tuple[float, float]]:
        return [(0.0, 0.5)]

    for day in range(c.days):
        takings = 3 + day / 20
        if day % 30 == 0 or day in (35, 105, 195):
            revenue = int(takings * 60_000 * 365)
            owner = {"party_id": f"{c.account_id}-owner", "role": "principal", "eligible": day != 90, "days_past_due": 0}
            group = {"party_id": f"{c.account_id}-group", "role": "group", "days_past_due": 45 if day == 120 else 0}
            figures: dict[str, Any] = {
                "business": {
                    "revenue_yearly_minor": revenue,
                    "bank_flow_monthly_minor": revenue // 13,
                    "ecosystem_activity_monthly": int(takings * 30),
                },
                "requested_limit_minor": 800_000,
                "external_debt_minor": revenue * {150: 85, 180: 70}.get(day, 5) // 100,
                "credit_record": {"months": 48, "completeness_percent": 95, "delinquencies_24m": 0},
                "related": [owner, group | {"exposure_minor": {30: 130_000_000, 210: 140_000_000}.get(day, 1_000_000)}],
                "attributes": {"tax_grade": 4},
            }
            if day < 60:
                figures["identity_verified_until"] = date_of(c.start_ms + 40 * DAY_MS)
            match day:
                case 60:
                    figures["consent_at"] = None
                case 105:
                    figures["status"] = "dormant"
                case 195:
                    figures["jurisdiction"] = "HK"
            c.profile(day, **figures)
        for _ in range(int(takings) + (c.rng.random() < takings % 1)):
            c.transfer(c.at(day, c.rng.uniform(9, 21)), c.rng.randrange(20_000, 120_000), "in", f"b{c.rng.randrange(60)}", "other")
        if day % 3 == 0:
            c.purchase(c.at(day, 7), int(takings * 90_000), c.rng.choice(STOCK), f"s{c.rng.randrange(12)}")
        if day % 60 == 45 and day < 200:
            c.borrow(day, int(takings * 400_000), 3, promptly)
        if day == 200:
            c.borrow(day, 300_000, 1, half)
        if day == 225:
            c.borrow(day, 600_000, 6, promptly)


PERSONAS: Final[dict[str, Callable[[Customer], None]]] = {
    "steady_payer": steady_payer,
    "growing_shop": growing_shop,
    "over_borrower": over_borrower,
    "late_payer": late_payer,
    "hijacked": hijacked,
    "hijacked_shop": hijacked_shop,
    "student": student,
    "graduate": graduate,
    "dormant": dormant,
    "mover": mover,
    "own_master": own_master,
    "by_hand": by_hand,
    "came_along": came_along,
    "careless": careless,
    "tangled_shop": tangled_shop,
    "latecomer": latecomer,
    "hidden_debts": hidden_debts,
}
SHARES: Final = {  # of a hundred: a new persona takes from the one before it, so that the others stay who they are
    "steady_payer": 25,
    "latecomer": 2,
    "hidden_debts": 3,
    "by_hand": 3,
    "came_along": 2,
    "careless": 3,
    "tangled_shop": 2,
    "growing_shop": 14,
    "hijacked_shop": 2,
    "over_borrower": 12,
    "late_payer": 12,
    "hijacked": 4,
    "student": 6,
    "graduate": 2,
    "dormant": 3,
    "mover": 3,
    "own_master": 2,
}


def life(persona: str, account_id: str, seed: int, start_ms: int, days: int) -> list[Item]:
    """The whole life of one customer, in order of occurred_at. ``start_ms`` should be a midnight in China."""
    customer = Customer(account_id, Random(f"{seed}/{account_id}"), start_ms, days)
    PERSONAS[persona](customer)
    return customer.story()


def persona_of(number: int, seed: int) -> str:
    """The persona of the n-th customer of a population."""
    return Random(f"{seed}/persona/{number}").choices(list(SHARES), list(SHARES.values()))[0]


def population(accounts: int, seed: int, start_ms: int, days: int) -> Iterator[Item]:
    """The lives of ``accounts`` customers, merged by time."""
    lives: Iterable[list[Item]] = (
        life(persona_of(n, seed), f"{persona_of(n, seed)}-{n:06d}", seed, start_ms, days) for n in range(accounts)
    )
    return heapq.merge(*lives)


def midnight_before(now: datetime, days: int) -> int:
    """Epoch ms of the midnight in China that lies ``days`` days before ``now``'s day."""
    today = now.astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((today - timedelta(days=days)).astimezone(UTC).timestamp() * 1000)
