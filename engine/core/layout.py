"""Where everything stands: the columns of an account's row, of a batch of events and of a decision.

Theory of operation. An account's whole state is one row of int64: a fixed part (clock, standing, profile figures, instalments, movements,
recent fingerprints) and, behind it, the tiles of the policy's measures. A batch of events is a matrix of int64 with one row per column
below and one column per event; the decisions that come out are a matrix as well. Nothing on the hot path is a Python object.

``MISSING`` stands for *unknown* wherever a value may be absent. Times are epoch milliseconds, days are policy days, money is minor units.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MISSING: Final = -(2**63)
AMOUNT_MAX: Final = 2**53 - 1

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
MONTH_DAYS: Final = 30

INSTALMENTS_MAX: Final = 36
SETTLED_KEEP_DAYS: Final = 60
MOVEMENTS_MAX: Final = 32
FINGERPRINTS_MAX: Final = 16


class Topic(IntEnum):
    """Input topics by their rank in the merge (ties of record time are taken in this order)."""

    CONTROL = 0
    PROFILE = 1
    COMMAND = 2
    REPAYMENT = 3
    TRANSFER = 4
    PURCHASE = 5


class Ev(IntEnum):
    """Columns of an event; those that its topic does not have are MISSING. Words are codes of the policy's vocabulary: 0 = none or unknown."""

    TOPIC = 0
    SLOT = 1  # row of the account in the batch's accounts
    RECORD_TIME = 2  # Kafka timestamp
    CLOCK = 3  # shard clock at this record (running maximum of the merge, at least the last tick)
    OCCURRED_AT = 4  # command: issued_at
    FINGERPRINT = 5  # 64-bit keyed hash of (topic, ce_source, event_id), as int64
    AMOUNT = 6
    AMOUNT_DUE = 7
    LOAN = 8  # fingerprint of loan_id
    DUE_AT = 9
    REVERSES_AT = 10  # reverses.occurred_at, MISSING if no reversal
    REVERSES_FULL = 11  # 1 / 0
    CATEGORY = 12
    CHANNEL = 13
    PRODUCT = 14
    FUNDED_BY = 15
    DIRECTION = 16
    PURPOSE = 17
    MERCHANT = 18  # vocabulary code
    COUNTERPARTY = 19  # vocabulary code
    CATEGORY_HASH = 20  # the five: fingerprints of category, channel, product, merchant_id, counterparty_id for open distinct measures
    CHANNEL_HASH = 21
    PRODUCT_HASH = 22
    MERCHANT_HASH = 23
    COUNTERPARTY_HASH = 24
    PROFILE_ROW = 25  # row of the batch's profile matrix; MISSING: the wish to forget the account
    COMMAND_KIND = 26  # Command
    CAUSE = 27  # Block


EVENT_COLUMNS: Final = len(Ev)


class Funding(IntEnum):
    """Codes of ``funded_by`` (fixed by the contract)."""

    OWN = 1
    CREDIT = 2


class Direction(IntEnum):
    """Codes of ``direction``."""

    IN = 1
    OUT = 2


class Purpose(IntEnum):
    """Codes of ``purpose``."""

    SALARY = 1
    WEALTH = 2
    DRAW = 3
    LOAN = 4
    RENT = 5
    PERSON = 6
    OTHER = 7


class Outcome(IntEnum):
    """Outcomes of an instalment; also the bit that remembers that it was counted."""

    ON_TIME = 1
    LATE = 2
    PARTIAL = 3
    MISSED = 4


class Command(IntEnum):
    """Commands the kernel knows."""

    FREEZE = 1
    UNFREEZE = 2
    OTHER = 3


class Block(IntEnum):
    """Why drawing is not allowed; the value is the bit number."""

    CUSTOMER = 0
    TAKEOVER = 1
    RISK_DESK = 2
    ARREARS = 3
    LEGAL = 4
    PAST_DUE = 5
    OVER_CAP = 6


class Status(IntEnum):
    """Status of the profile."""

    ACTIVE = 1
    DORMANT = 2
    FORBEARANCE = 3
    INSOLVENT = 4
    DECEASED = 5
    WRITTEN_OFF = 6
    CLOSED = 7


class Employment(IntEnum):
    """Employment of the profile."""

    JOB = 1
    SELF_EMPLOYED = 2
    STUDENT = 3
    RETIRED = 4
    UNEMPLOYED = 5
    OTHER = 6


class IncomeProof(IntEnum):
    """How the profile's income is proven."""

    DOCUMENTED = 1
    STATED = 2
    ESTIMATED = 3


class Segment(IntEnum):
    """Clienteles."""

    INDIVIDUAL = 0
    ENTERPRISE = 1


class Fig(IntEnum):
    """Profile figures, as they stand in a row of the profile matrix and in an account's row; attributes follow in policy order."""

    AS_OF = 0
    SEGMENT = 1
    STATUS = 2
    EMPLOYMENT = 3
    INCOME_PROOF = 4
    JURISDICTION = 5
    OPENED_ON = 6
    APPLIED_AT = 7  # ms
    REQUESTED_LIMIT = 8
    IDENTITY_VERIFIED_UNTIL = 9
    INCOME_MONTHLY = 10
    INCOME_AS_OF = 11
    DEBT_SERVICE_MONTHLY = 12
    ASSETS = 13
    EXPOSURE = 14
    EXTERNAL_DEBT = 15
    EXTERNAL_LIMITS = 16
    CREDIT_MONTHS = 17
    CREDIT_COMPLETENESS = 18
    DELINQUENCIES_24M = 19
    PERSISTENT_DEBT_MONTHS = 20
    REVENUE_YEARLY = 21
    BANK_FLOW_MONTHLY = 22
    ECOSYSTEM_ACTIVITY_MONTHLY = 23
    CONSENT_AT = 24
    OPTED_OUT_AT = 25
    DEVICE_CHANGED_AT = 26
    CONTACT_CHANGED_AT = 27
    PRINCIPAL_ELIGIBLE = 28
    RELATED_DAYS_PAST_DUE = 29
    RELATED_EXPOSURE = 30
    GRANTED_LIMIT = 31
    GRANTED_BAND = 32  # band_code of the name
    GRANTED_SINCE = 33  # policy day


FIGURES: Final = len(Fig)


class Standing(IntEnum):
    """Life of a credit line."""

    NONE = 0
    OPEN = 1
    CLOSED = 2


class Col(IntEnum):
    """The fixed columns of an account's row. Every one is 0 or MISSING in a row without history (see ``new_row``)."""

    FIRST_AT = 0  # occurred_at of the first accepted record; MISSING: the row is new
    CLOCK = 1
    ACCEPTED = 2
    SEQUENCE = 3
    STANDING = 4
    LIMIT = 5
    BAND = 6  # band_code of the name, MISSING without one
    BLOCKS = 7  # bit set of Block
    LAST_CHANGE_DAY = 8
    LAST_DECREASE_DAY = 9
    CLOSED_DAY = 10
    IN_ARREARS = 11
    CURED_ON = 12
    OLDER_SUM = 13  # movements merged: sum
    OLDER_UNTIL = 14  # and the newest of their times
    INSTALMENTS = 15  # number held
    MOVEMENTS = 16  # number held
    FINGERPRINTS = 17  # number ever remembered; the next goes to this modulo FINGERPRINTS_MAX


FIXED_COLUMNS: Final = len(Col)


class Inst(IntEnum):
    """Fields of one held instalment."""

    LOAN = 0
    DUE_AT = 1
    DUE = 2
    PAID = 3
    FLAGS = 4  # bit Outcome.X: counted; SETTLED_BIT; SHARED_BIT


INSTALMENT_FIELDS: Final = len(Inst)
SETTLED_BIT: Final = 1 << 5
SHARED_BIT: Final = 1 << 6

# The row: fixed columns, figures, movements (time, amount), instalments, fingerprints, attributes, tiles.
FIGURES_AT: Final = FIXED_COLUMNS
MOVEMENTS_AT: Final = FIGURES_AT + FIGURES
INSTALMENTS_AT: Final = MOVEMENTS_AT + 2 * MOVEMENTS_MAX
FINGERPRINTS_AT: Final = INSTALMENTS_AT + INSTALMENT_FIELDS * INSTALMENTS_MAX
ATTRIBUTES_AT: Final = FINGERPRINTS_AT + FINGERPRINTS_MAX


class Verdict(IntEnum):
    """What became of one event."""

    ACCEPTED = 0
    DUPLICATE = 1
    STALE = 2
    NO_PROFILE = 3  # measured, not evaluated
    FORGOTTEN = 4  # of the wish to forget: done
    NOTHING_HELD = 5  # nothing is known of the account
    LINE_OPEN = 6  # refused


class Kind(IntEnum):
    """Kinds of change the kernel emits, plus the answer to a command."""

    GRANT = 0
    INCREASE = 1
    DECREASE = 2
    FREEZE = 3
    UNFREEZE = 4
    CLOSE = 5
    COMMAND_ACCEPTED = 6
    COMMAND_REFUSED = 7


class Refused(IntEnum):
    """Why a command was refused."""

    NONE = 0
    NOT_OPEN = 1
    ALREADY_IN_FORCE = 2
    NOT_IN_FORCE = 3
    NOT_SUPPORTED = 4
    NO_PROFILE = 5


class Guard(IntEnum):
    """Guards in the order of precedence in which they are asked; the first that bites is the reason why a change was withheld."""

    NONE = 0
    CLOSED = 1
    BLOCKED = 2
    IN_ARREARS = 3
    IN_CURE = 4
    NOT_ELIGIBLE = 5
    CONSENT_MISSING = 6
    COOL_DOWN_UP = 7
    COOL_DOWN_DOWN = 8
    WARMING_UP = 9


class Bound(IntEnum):
    """What bound the target limit: the band, or the cap or rule that acted last."""

    BAND = 0
    PRODUCT_CAP = 1
    INCOME_CAP = 2
    RELATED_CAP = 3
    LEGAL_CAP = 4
    REQUESTED = 5
    CEILING = 6
    STEP = 7
    ARREARS = 8
    EXPOSURE_FLOOR = 9


CAPS: Final = 7  # Bound.BAND .. Bound.CEILING


class Out(IntEnum):
    """Columns of a decision. From EXPOSURE on it is the evaluation's trace; the caps (by ``Bound``), the feature values and the bins by
    characteristic (-1: missing) stand behind."""

    EVENT = 0  # index of the event in the batch
    SLOT = 1
    KIND = 2
    SEQUENCE = 3
    CLOCK = 4
    CAUSE = 5  # Block of a freeze or unfreeze; Refused of a refusal
    PREVIOUS_LIMIT = 6
    PREVIOUS_BAND = 7
    PREVIOUS_BLOCKS = 8
    PREVIOUS_STANDING = 9
    LIMIT = 10
    BAND = 11
    BLOCKS = 12
    STANDING = 13
    EXPOSURE = 14
    EXPOSURE_AS_OF = 15
    SEGMENT = 16
    SCORE = 17
    TARGET_BAND = 18  # place in the segment, lowest 0
    TARGET_LIMIT = 19
    BOUND_BY = 20
    BUCKET = 21
    DAYS_PAST_DUE = 22
    WARMING_UP = 23
    FORCED = 24
    GUARD = 25
    EVALUATED = 26  # 0: the trace is empty (a command refused before any profile)


CAPS_AT: Final = len(Out)
VALUES_AT: Final = CAPS_AT + CAPS
