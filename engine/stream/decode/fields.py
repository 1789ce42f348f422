"""The scanner's tables: which fields a topic's events have, what kind each is, and where its value goes.

One vector of int64 per topic and policy: single numbers (``Ta``), the fields of the event, those of ``reverses``, and the words that values
are compared with. It follows from the contract: names and requiredness are read from its models, so a field that the contract gains is left
to the judge until the scanner is taught it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from engine.core.fingerprint import FingerprintKey, fingerprint
from engine.core.layout import AMOUNT_MAX, EVENT_COLUMNS, MISSING, Direction, Ev, Funding, Purpose, Topic
from engine.core.tables import DecodeRules, Ints
from schemas.common import Event, Reversal
from schemas.purchases import Purchase
from schemas.repayments import Repayment
from schemas.transfers import Transfer


class Ta(IntEnum):
    """The head of a topic's table: places of its fields, bits of the required ones, and what values are compared with."""

    FIELDS = 0
    FIELDS_END = 1
    REQUIRED = 2
    NESTED = 3
    NESTED_END = 4
    NESTED_REQUIRED = 5
    CURRENCY = 6  # three letters as a word


class Fi(IntEnum):
    """A field. NEXT is the scanner's own note: the field that followed the last time."""

    NAME_LOW = 0
    NAME_HIGH = 1
    KIND = 2
    BIT = 3
    COLUMN = 4
    HASH_COLUMN = 5
    WORDS = 6
    WORDS_END = 7
    LOW = 8
    HIGH = 9
    NEXT = 10


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
    LAST_STRING = 7
    AMOUNT = 8  # LOW .. HIGH
    TRUTH = 9  # 1 / 0
    REVERSES = 10  # object with the nested fields


FIELD: Final = len(Fi)
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
REVERSES: Final = {
    "event_id": (FieldKind.NAME, -1),
    "occurred_at": (FieldKind.TIME, Ev.REVERSES_AT),
    "full": (FieldKind.TRUTH, Ev.REVERSES_FULL),
}


def blank_event(topic: Topic) -> Ints:
    """(EVENT_COLUMNS,) what a record of a topic has before any of its fields is read: words 0, everything else MISSING."""
    column = np.full(EVENT_COLUMNS, MISSING, np.int64)
    column[Ev.TOPIC] = topic
    column[[Ev.REVERSES_FULL, *(code for code, _ in WORDS.values()), *(code for code, _ in ENUMS.values())]] = 0
    return column


def word(text: str) -> int:
    """The first eight bytes of a text as a little-endian word, signed."""
    return int.from_bytes(text.encode()[:8].ljust(8, b"\0"), "little", signed=True)


def topic_table(topic: Topic, rules: DecodeRules, key: FingerprintKey) -> Ints | None:
    """The scanner's table of a topic; None if the scanner has not been taught every field that the contract has."""
    table: list[int] = [0] * len(Ta)
    model = EVENT_MODELS[topic]
    if set(Reversal.model_fields) != set(REVERSES):
        return None
    table[Ta.CURRENCY] = word(rules.currency)
    entries = []
    for bit, (name, info) in enumerate(model.model_fields.items()):
        entry = _entry(name, bit, rules, key, table)
        if entry is None:
            return None
        entries.append(entry)
        table[Ta.REQUIRED] |= (1 << bit) * info.is_required()
    nested = []
    for bit, (name, (kind, column)) in enumerate(REVERSES.items(), len(entries)):
        nested.append(_named(name, kind, bit, column))
        table[Ta.NESTED_REQUIRED] |= 1 << bit
    for first, end, fields in ((Ta.FIELDS, Ta.FIELDS_END, entries), (Ta.NESTED, Ta.NESTED_END, nested)):
        table[first] = len(table)
        for field in fields:
            table.extend(field)
        table[end] = len(table)
    return np.array(table, np.int64)


def _named(name: str, kind: FieldKind, bit: int, column: int) -> list[int]:
    entry = [0] * FIELD
    entry[Fi.NAME_LOW], entry[Fi.NAME_HIGH] = word(name), word(name[8:])
    entry[Fi.KIND], entry[Fi.BIT], entry[Fi.COLUMN] = kind, 1 << bit, column
    entry[Fi.HIGH] = AMOUNT_MAX
    return entry


def _entry(name: str, bit: int, rules: DecodeRules, key: FingerprintKey, table: list[int]) -> list[int] | None:
    """A field's entry; its words are appended to ``table``. None for a field that the scanner does not know."""
    if name in TIMES:
        return _named(name, FieldKind.TIME, bit, TIMES[name])
    if name in AMOUNTS:
        return _named(name, FieldKind.AMOUNT, bit, AMOUNTS[name])
    if name in ENUMS:
        column, codes = ENUMS[name]
        entry = _named(name, FieldKind.ENUM, bit, column)
        entry[Fi.WORDS] = len(table)
        table.extend(word(code.name.lower()) for code in codes)
        entry[Fi.WORDS_END] = len(table)
        return entry
    if name in WORDS:
        entry = _named(name, FieldKind.WORD, bit, WORDS[name][0])
        entry[Fi.HASH_COLUMN] = WORDS[name][1]
        entry[Fi.WORDS] = len(table)
        vocabulary = _vocabulary(rules.words[name], key)
        entry[Fi.WORDS_END] = len(vocabulary) // 2 - 1
        table.extend(vocabulary)
        return entry
    match name:
        case "event_id":
            return _named(name, FieldKind.EVENT_ID, bit, Ev.FINGERPRINT)
        case "account_id":
            return _named(name, FieldKind.ACCOUNT, bit, -1)
        case "currency":
            return _named(name, FieldKind.CURRENCY, bit, -1)
        case "loan_id":
            return _named(name, FieldKind.PRINT, bit, Ev.LOAN)
        case "reverses":
            return _named(name, FieldKind.REVERSES, bit, -1)
    return None


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
