"""The scanner's tables: which fields a topic's events have, what kind each is, and where its value goes.

One vector of int64 per topic and policy: single numbers (``Ta``), the fields of the event, those of ``reverses``, and the words that values
are compared with. It follows from the contract: names and requiredness are read from its models, so a field that the contract gains is left
to the judge until the scanner is taught it.
"""

from __future__ import annotations

from enum import IntEnum


class Ta(IntEnum):
    """The head of a topic's table: places of its fields, bits of the required ones, and what values are compared with."""

    FIELDS = 0
    FIELDS_END = 1
    REQUIRED = 2
    NESTED = 3
    NESTED_END = 4
    NESTED_REQUIRED = 5
    TOPIC_PRINT = 6
    CURRENCY = 7  # three letters as a word


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


FIELD = len(Fi)
