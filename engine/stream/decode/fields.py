"""The scanner's tables: which fields a topic's records have, what kind each is, and where its value goes.

One vector of int64 per topic and policy: single numbers (``Ta``), the objects (``Ob``) with their fields (``Fi``), the record's own and those
inside of it, and the words that values are compared with. It follows from the contract: names, requiredness and what may be null are read from
its models, so a field that the contract gains is left to the judge until the scanner is taught it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from pydantic import BaseModel

from engine.core.fingerprint import FingerprintKey, fingerprint
from engine.core.layout import (
    AMOUNT_MAX,
    EVENT_COLUMNS,
    FIGURES,
    MISSING,
    Direction,
    Employment,
    Ev,
    Fig,
    Funding,
    IncomeProof,
    Purpose,
    Segment,
    Status,
    Topic,
)
from engine.core.tables import DecodeRules, Ints
from schemas.common import Event, Reversal
from schemas.profiles import COUNT_MAX, PARTIES_MAX, Applied, Business, CreditRecord, Granted, Income, Profile, RelatedParty
from schemas.purchases import Purchase
from schemas.repayments import Repayment
from schemas.transfers import Transfer


class Ta(IntEnum):
    """The head of a topic's table: the place of the record's own object, and what values are compared and reckoned with."""

    OBJECT = 0
    CURRENCY = 1  # three letters as a word
    UTC_OFFSET = 2  # of the policy's days, ms


class Ob(IntEnum):
    """An object: the places of its fields, the bits of those that it must have, and the place of a field for all others (0: there are none)."""

    FIELDS = 0
    FIELDS_END = 1
    REQUIRED = 2
    OTHERS = 3


class Fi(IntEnum):
    """A field. NEXT is the scanner's own note: the field that followed the last time."""

    NAME_LOW = 0  # its bytes 0 to 7 and 8 to 15, by which it is found, and the others
    NAME_HIGH = 1
    NAME_THIRD = 2
    NAME_FOURTH = 3
    NAME_LENGTH = 4
    KIND = 5
    BIT = 6
    COLUMN = 7  # from EVENT_COLUMNS on: of the figures
    HASH_COLUMN = 8
    WORDS = 9  # of an object: its place
    WORDS_END = 10
    LOW = 11
    HIGH = 12
    NULLABLE = 13  # 1: null says as much as its absence
    NEXT = 14


class FieldKind(IntEnum):
    """What a value must be, and what becomes of it. Up to LAST_STRING it is a string."""

    EVENT_ID = 0  # its fingerprint is mixed into the column; equals the CloudEvents id if there is one
    ACCOUNT = 1  # equals the record's key
    TIME = 2  # epoch ms
    CURRENCY = 3  # the policy's
    WORD = 4  # code of the vocabulary, and the fingerprint to HASH_COLUMN
    PRINT = 5  # fingerprint
    ENUM = 6  # code of the contract's word
    NAME = 7  # any text, not kept
    DAY = 8  # number of the date, or of the policy day that an instant lies in
    JURISDICTION = 9  # its code
    BAND = 10  # its code
    LAST_STRING = 10
    NUMBER = 11  # LOW .. HIGH
    TRUTH = 12  # 1 / 0
    OBJECT = 13  # the fields of another one
    PARTIES = 14  # a list of such, which are told of together


class No(IntEnum):
    """What is noted behind the figures: of the related party at hand, of all of them, and of the attributes that the policy does not read."""

    ROLE = 0
    ELIGIBLE = 1
    DAYS_PAST_DUE = 2
    EXPOSURE = 3
    IGNORED = 4
    PRINCIPALS = 5  # bit 0: one is eligible; bit 1: one is not; bit 2: of one it is not known
    OTHERS = 6  # fingerprints of their names, OTHERS_MAX


class Role(IntEnum):
    """Roles of a related party."""

    PRINCIPAL = 0
    GUARANTOR = 1
    GROUP = 2
    JOINT = 3


class Taught(NamedTuple):
    """How a field is read: its kind and column; a number's bounds, or how long a list may be; the codes of the contract's words; the fields of an
    object inside, and its model (None: it may have any of them, and others)."""

    kind: FieldKind
    column: int = -1
    low: int = 0
    high: int = AMOUNT_MAX
    codes: type[IntEnum] | None = None
    fields: Mapping[str, Taught] = {}
    model: type[BaseModel] | None = None


Fields = Mapping[str, Taught]

FIELD: Final = len(Fi)
OTHERS_MAX: Final = 16
NOTED: Final = No.OTHERS + OTHERS_MAX
WORD_CELLS: Final = 3  # of a word of the contract: two words of memory, and its code
WORD_MAX: Final = 16
FOUND_BY: Final = 16  # bytes of a name, which are no other field's
NAME_MAX: Final = 32
FIELDS_MAX: Final = 62  # of an object: a bit each
EVENT_MODELS: Final[dict[Topic, type[Event]]] = {Topic.REPAYMENT: Repayment, Topic.PURCHASE: Purchase, Topic.TRANSFER: Transfer}
TIMES: Final = {"occurred_at": Ev.OCCURRED_AT, "due_at": Ev.DUE_AT}
AMOUNTS: Final = {"amount_minor": Ev.AMOUNT, "amount_due_minor": Ev.AMOUNT_DUE}
WORDS: Final = {
    "category": (Ev.CATEGORY, Ev.CATEGORY_HASH),
    "channel": (Ev.CHANNEL, Ev.CHANNEL_HASH),
    "product": (Ev.PRODUCT, Ev.PRODUCT_HASH),
    "merchant_id": (Ev.MERCHANT, Ev.MERCHANT_HASH),
    "counterparty_id": (Ev.COUNTERPARTY, Ev.COUNTERPARTY_HASH),
}
ENUMS: Final[dict[str, tuple[Ev, type[IntEnum]]]] = {
    "funded_by": (Ev.FUNDED_BY, Funding),
    "direction": (Ev.DIRECTION, Direction),
    "purpose": (Ev.PURPOSE, Purpose),
}
REVERSES: Final[Fields] = {
    "event_id": Taught(FieldKind.NAME),
    "occurred_at": Taught(FieldKind.TIME, Ev.REVERSES_AT),
    "full": Taught(FieldKind.TRUTH, Ev.REVERSES_FULL),
}
COMMON: Final[Fields] = {
    "event_id": Taught(FieldKind.EVENT_ID, Ev.FINGERPRINT),
    "account_id": Taught(FieldKind.ACCOUNT),
    "currency": Taught(FieldKind.CURRENCY),
}
OF_EVENTS: Final[Fields] = {
    **COMMON,
    "loan_id": Taught(FieldKind.PRINT, Ev.LOAN),
    "reverses": Taught(FieldKind.OBJECT, fields=REVERSES, model=Reversal),
    **{name: Taught(FieldKind.TIME, column) for name, column in TIMES.items()},
    **{name: Taught(FieldKind.NUMBER, column) for name, column in AMOUNTS.items()},
    **{name: Taught(FieldKind.ENUM, column, codes=codes) for name, (column, codes) in ENUMS.items()},
    **{name: Taught(FieldKind.WORD, column) for name, (column, _) in WORDS.items()},
}


def _figure(figure: Fig, kind: FieldKind = FieldKind.NUMBER, high: int = AMOUNT_MAX, codes: type[IntEnum] | None = None) -> Taught:
    return Taught(kind, EVENT_COLUMNS + figure, high=high, codes=codes)


def _count(figure: Fig, most: int = COUNT_MAX) -> Taught:
    return _figure(figure, high=most)


def _day(figure: Fig) -> Taught:
    return _figure(figure, FieldKind.DAY)


def party_fields(attributes: int) -> Fields:
    """How a related party is read, where the policy has so many attributes."""
    first = EVENT_COLUMNS + FIGURES + attributes
    return {
        "party_id": Taught(FieldKind.NAME),
        "role": Taught(FieldKind.ENUM, first + No.ROLE, codes=Role),
        "eligible": Taught(FieldKind.TRUTH, first + No.ELIGIBLE),
        "score": Taught(FieldKind.NUMBER, first + No.IGNORED, low=-AMOUNT_MAX),
        "days_past_due": Taught(FieldKind.NUMBER, first + No.DAYS_PAST_DUE, high=COUNT_MAX),
        "limit_minor": Taught(FieldKind.NUMBER, first + No.IGNORED),
        "exposure_minor": Taught(FieldKind.NUMBER, first + No.EXPOSURE),
        "as_of": Taught(FieldKind.DAY, first + No.IGNORED),
    }


def profile_fields(attributes: tuple[str, ...]) -> Fields:
    """How a profile is read under a policy with these attributes."""
    income = {
        "monthly_minor": _figure(Fig.INCOME_MONTHLY),
        "proof": _figure(Fig.INCOME_PROOF, FieldKind.ENUM, codes=IncomeProof),
        "as_of": _day(Fig.INCOME_AS_OF),
    }
    credit_record = {
        "months": _count(Fig.CREDIT_MONTHS),
        "completeness_percent": _count(Fig.CREDIT_COMPLETENESS, 100),
        "delinquencies_24m": _count(Fig.DELINQUENCIES_24M),
        "persistent_debt_months": _count(Fig.PERSISTENT_DEBT_MONTHS),
    }
    business = {
        "revenue_yearly_minor": _figure(Fig.REVENUE_YEARLY),
        "bank_flow_monthly_minor": _figure(Fig.BANK_FLOW_MONTHLY),
        "ecosystem_activity_monthly": _count(Fig.ECOSYSTEM_ACTIVITY_MONTHLY),
    }
    granted = {
        "limit_minor": _figure(Fig.GRANTED_LIMIT),
        "band": _figure(Fig.GRANTED_BAND, FieldKind.BAND),
        "since": _day(Fig.GRANTED_SINCE),
    }
    applied = {"sequence": _figure(Fig.APPLIED_SEQUENCE), "limit_minor": _figure(Fig.APPLIED_LIMIT)}
    numbers = {name: Taught(FieldKind.NUMBER, EVENT_COLUMNS + place, -AMOUNT_MAX) for place, name in enumerate(attributes, FIGURES)}
    return {
        **COMMON,
        "occurred_at": Taught(FieldKind.TIME, Ev.OCCURRED_AT),
        "as_of": _figure(Fig.AS_OF, FieldKind.TIME),
        "corrects": _figure(Fig.CORRECTS, FieldKind.TRUTH),
        "segment": _figure(Fig.SEGMENT, FieldKind.ENUM, codes=Segment),
        "status": _figure(Fig.STATUS, FieldKind.ENUM, codes=Status),
        "jurisdiction": _figure(Fig.JURISDICTION, FieldKind.JURISDICTION),
        "opened_on": _day(Fig.OPENED_ON),
        "applied_at": _figure(Fig.APPLIED_AT, FieldKind.TIME),
        "requested_limit_minor": _figure(Fig.REQUESTED_LIMIT),
        "identity_verified_until": _day(Fig.IDENTITY_VERIFIED_UNTIL),
        "employment": _figure(Fig.EMPLOYMENT, FieldKind.ENUM, codes=Employment),
        "income": Taught(FieldKind.OBJECT, fields=income, model=Income),
        "debt_service_monthly_minor": _figure(Fig.DEBT_SERVICE_MONTHLY),
        "assets_minor": _figure(Fig.ASSETS),
        "exposure_minor": _figure(Fig.EXPOSURE),
        "external_debt_minor": _figure(Fig.EXTERNAL_DEBT),
        "external_limits_minor": _figure(Fig.EXTERNAL_LIMITS),
        "credit_record": Taught(FieldKind.OBJECT, fields=credit_record, model=CreditRecord),
        "business": Taught(FieldKind.OBJECT, fields=business, model=Business),
        "consent_at": _day(Fig.CONSENT_AT),
        "opted_out_at": _day(Fig.OPTED_OUT_AT),
        "device_changed_at": _day(Fig.DEVICE_CHANGED_AT),
        "contact_changed_at": _day(Fig.CONTACT_CHANGED_AT),
        "granted": Taught(FieldKind.OBJECT, fields=granted, model=Granted),
        "applied": Taught(FieldKind.OBJECT, fields=applied, model=Applied),
        "related": Taught(FieldKind.PARTIES, high=PARTIES_MAX, fields=party_fields(len(attributes)), model=RelatedParty),
        "attributes": Taught(FieldKind.OBJECT, fields=numbers),
    }


def blank_event(topic: Topic) -> Ints:
    """(EVENT_COLUMNS,) what a record of a topic has before any of its fields is read: words 0, everything else MISSING."""
    column = np.full(EVENT_COLUMNS, MISSING, np.int64)
    column[Ev.TOPIC] = topic
    column[[Ev.REVERSES_FULL, *(code for code, _ in WORDS.values()), *(code for code, _ in ENUMS.values())]] = 0
    return column


def blank_profile(attributes: int) -> Ints:
    """(FIGURES + attributes + NOTED,) what a profile has before any of its fields is read, and what is noted then."""
    row = np.full(FIGURES + attributes + NOTED, MISSING, np.int64)
    row[Fig.CORRECTS] = row[FIGURES + attributes + No.PRINCIPALS] = 0
    return row


def word(text: str) -> int:
    """The first eight bytes of a text as a little-endian word, signed."""
    return int.from_bytes(text.encode()[:8].ljust(8, b"\0"), "little", signed=True)


def topic_table(topic: Topic, rules: DecodeRules, key: FingerprintKey) -> Ints | None:
    """The scanner's table of a topic; None if the scanner has not been taught every field that the contract has."""
    model, fields = (Profile, profile_fields(rules.attributes)) if topic is Topic.PROFILE else (EVENT_MODELS[topic], OF_EVENTS)
    table = [0] * len(Ta)
    table[Ta.CURRENCY], table[Ta.UTC_OFFSET] = word(rules.currency), rules.utc_offset_ms
    place = _put_object(table, fields, model, rules, key)
    if place is None:
        return None
    table[Ta.OBJECT] = place
    return np.array(table, np.int64)


def _put_object(table: list[int], fields: Fields, model: type[BaseModel] | None, rules: DecodeRules, key: FingerprintKey) -> int | None:
    """Append an object, behind what its fields need; its place. None if a field of its model is not known."""
    entries, required, others = [], 0, 0
    names = _told_apart(fields) if model is None else list(model.model_fields)
    if len(_told_apart(names)) < len(names):
        return None
    for bit, name in enumerate(names):
        entry = _entry(name, fields[name], table, rules, key) if name in fields else None
        if entry is None:
            return None
        info = None if model is None else model.model_fields[name]
        entry[Fi.BIT] = 1 << bit
        entry[Fi.NULLABLE] = info is not None and not info.is_required() and info.default is None
        required |= (1 << bit) * (info is not None and info.is_required())
        entries.append(entry)
    if model is None and len(names) == len(fields):  # else one of the others may be a field of the policy's
        others = len(table)
        ignored = _entry("", Taught(FieldKind.NUMBER, EVENT_COLUMNS + FIGURES + len(fields) + No.IGNORED, -AMOUNT_MAX), table, rules, key)
        assert ignored is not None
        table.extend(ignored)
    first = len(table)
    for entry in entries:
        table.extend(entry)
    table.extend((first, len(table), required, others))
    return len(table) - len(Ob)


def _told_apart(names: Iterable[str]) -> list[str]:
    """The fields that the scanner can tell apart."""
    return list({name[:FOUND_BY]: name for name in names if len(name) <= NAME_MAX}.values())[:FIELDS_MAX]


def _entry(name: str, taught: Taught, table: list[int], rules: DecodeRules, key: FingerprintKey) -> list[int] | None:
    """A field's entry; its words, or the object inside, are appended to ``table``. None if that cannot be read."""
    entry = [0] * FIELD
    entry[Fi.NAME_LOW], entry[Fi.NAME_HIGH], entry[Fi.NAME_THIRD], entry[Fi.NAME_FOURTH] = (word(name[at:]) for at in (0, 8, 16, 24))
    entry[Fi.NAME_LENGTH] = len(name)
    entry[Fi.KIND], entry[Fi.COLUMN], entry[Fi.LOW], entry[Fi.HIGH] = taught.kind, taught.column, taught.low, taught.high
    if taught.kind in (FieldKind.OBJECT, FieldKind.PARTIES):
        assert all(own.kind < FieldKind.OBJECT for own in taught.fields.values()), "the scanner remembers one object outside"
        inside = _put_object(table, taught.fields, taught.model, rules, key)
        if inside is None:
            return None
        entry[Fi.WORDS] = inside
    elif taught.codes is not None:
        entry[Fi.WORDS] = len(table)
        for code in taught.codes:
            text = code.name.lower()
            assert len(text) <= WORD_MAX
            table.extend((word(text), word(text[8:]), code))
        entry[Fi.WORDS_END] = len(table)
    elif taught.kind is FieldKind.WORD:
        entry[Fi.HASH_COLUMN] = WORDS[name][1]
        entry[Fi.WORDS] = len(table)
        vocabulary = _vocabulary(rules.words[name], key)
        entry[Fi.WORDS_END] = len(vocabulary) // 2 - 1
        table.extend(vocabulary)
    return entry


def _vocabulary(words: tuple[str, ...], key: FingerprintKey) -> list[int]:
    """An open-addressing table of (fingerprint, code) pairs, at most half full; its mask is the number of slots less one."""
    slots = 2
    while slots < 2 * len(words):
        slots *= 2
    cells = [0] * (2 * slots)
    for code, text in enumerate(words, 1):
        print_ = fingerprint(text.encode(), key)
        slot = print_ & (slots - 1)
        while cells[2 * slot + 1] != 0:
            slot = (slot + 1) & (slots - 1)
        cells[2 * slot], cells[2 * slot + 1] = print_, code
    return cells
