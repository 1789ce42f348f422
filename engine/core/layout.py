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
MONTH_WEEKS: Final = 4

INSTALMENTS_MAX: Final = 36
SETTLED_KEEP_DAYS: Final = 60
MOVEMENTS_MAX: Final = 32
FINGERPRINTS_MAX: Final = 16
FINGERPRINT_BITS: Final = (
    48  # of an event's, as an account remembers it: among 16, one new event in 17 million million is taken for another
)
ROUND_TRIPS_MAX: Final = 8
TOPS_MAX: Final = 6


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
    CAUSE = 27  # Block of freeze and unfreeze
    COMMAND_LIMIT = 28  # limit of override and set_temporary_limit, requested limit, ceiling
    COMMAND_UNTIL = 29  # ms
    COMMAND_OF = 30  # Released of release; sequence number that an offer_id names
    SECOND_PERSON = 31  # 1 if somebody else approved
    ID_AT = 32  # where the record's id begins in its value, MISSING: not looked for
    ID_END = 33


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
    OWN = 8


class Outcome(IntEnum):
    """Outcomes of an instalment; also the bit that remembers that it was counted."""

    ON_TIME = 1
    LATE = 2
    PARTIAL = 3
    MISSED = 4


class Command(IntEnum):
    """Commands the kernel knows."""

    NONE = 0
    FREEZE = 1
    UNFREEZE = 2
    HOLD = 3
    OVERRIDE = 4
    RELEASE = 5
    SET_TEMPORARY_LIMIT = 6
    REQUEST_INCREASE = 7
    SET_CEILING = 8
    ACCEPT_OFFER = 9
    DECLINE_OFFER = 10
    OPT_OUT = 11
    CLOSE = 12


class Released(IntEnum):
    """What a release ends."""

    HOLD = 0
    OVERRIDE = 1
    TEMPORARY = 2


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
    APPLIED_SEQUENCE = 34
    APPLIED_LIMIT = 35
    CORRECTS = 36  # 1 / 0


FIGURES: Final = len(Fig)


class Appetite(IntEnum):
    """The lender's risk appetite for a segment, as limit-control says it."""

    NEUTRAL = 0
    CONTRACTION = 1
    EXPANSION = 2


class Standing(IntEnum):
    """Life of a credit line."""

    NONE = 0
    OPEN = 1
    CLOSED = 2


class Col(IntEnum):
    """The fixed columns of an account's row. Every one is 0 or MISSING in a row without history (see ``blank_row``)."""

    FIRST_AT = 0  # occurred_at of the first accepted record; MISSING: the row is new
    CLOCK = 1
    ACCEPTED = 2
    SEQUENCE = 3
    STANDING = 4  # from here to PENDING_RATE_AT: what stands, and goes into every decision before and after it
    LIMIT = 5
    BAND = 6  # band_code of the name, MISSING without one
    BLOCKS = 7  # bit set of Block
    CEILING = 8
    TEMPORARY_LIMIT = 9
    TEMPORARY_UNTIL = 10
    OFFER = 11  # sequence number of the change that made it
    OFFER_LIMIT = 12
    OFFER_UNTIL = 13
    PENDING_LIMIT = 14
    PENDING_AT = 15
    HOLD_UNTIL = 16
    OVERRIDE_LIMIT = 17
    OVERRIDE_UNTIL = 18
    RATE_TIER = 19  # band_code of the name
    PENDING_RATE = 20
    PENDING_RATE_AT = 21
    LAST_CHANGE_DAY = 22  # of the limit upwards or downwards
    LAST_DECREASE_DAY = 23
    LAST_CHANGE_AT = 24  # clock of the last change of any kind
    CLOSED_DAY = 25
    OPTED_OUT_DAY = 26  # by command
    TAKEOVER_LIFTED_DAY = 27
    OFFER_ENDED_DAY = 28
    WARNED = 29  # band_code of the warning told last
    WARNED_UNTIL = 30
    WITHHELD = 31  # the guard told last
    WITHHELD_CODE = 32  # band_code of its requirement
    WITHHELD_TARGET = 33
    WITHHELD_UNTIL = 34
    MISMATCH = 35  # sequence at which a mismatch was told last
    MISMATCH_UNTIL = 36
    BUCKET = 37  # of arrears, when the account was last looked at
    CURED_ON = 38
    OLDER_SUM = 39  # movements merged: sum
    OLDER_UNTIL = 40  # and the newest of their times
    INSTALMENTS = 41  # number held
    MOVEMENTS = 42  # number held
    FINGERPRINTS = 43  # number ever remembered; the next goes to this modulo FINGERPRINTS_MAX


STANDING_COLUMNS: Final = Col.PENDING_RATE_AT - Col.STANDING + 1
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


class Leg(IntEnum):
    """Fields of one transfer that a ``round_trips`` measure remembers; ``AT`` 0: none."""

    PARTY = 0  # fingerprint of the counterparty
    AT = 1
    WORDS = 2  # direction + 4 x purpose
    AMOUNT = 3
    REST = 4  # what has not gone round


LEG_FIELDS: Final = len(Leg)


class Top(IntEnum):
    """Cells of a ``top`` measure: all amounts, the half-life they are counted in, then pairs of word (low 32 bits of its fingerprint) and amount;
    amount 0: none."""

    TOTAL = 0
    PERIOD = 1
    FIRST = 2


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
    """What the kernel emits: changes of the standing; from OVER_BORROWING on advisories, the answers to commands last."""

    GRANT = 0
    INCREASE = 1
    DECREASE = 2
    FREEZE = 3
    UNFREEZE = 4
    CLOSE = 5
    OFFER = 6
    OFFER_ACCEPTED = 7
    OFFER_DECLINED = 8
    OFFER_EXPIRED = 9
    ANNOUNCE = 10
    ANNOUNCE_WITHDRAWN = 11
    TEMPORARY_START = 12
    TEMPORARY_END = 13
    RATE_CHANGE = 14
    OVER_BORROWING = 15
    SUSPECTED_TAKEOVER = 16
    INCREASE_WITHHELD = 17
    STANDING_MISMATCH = 18
    BUDGET_SPENT = 19
    BREAKER_TRIPPED = 20
    COMMAND_ACCEPTED = 21
    COMMAND_REFUSED = 22


class Announced(IntEnum):
    """What an announcement or its withdrawal is about."""

    LIMIT = 0
    RATE = 1


class Refused(IntEnum):
    """Why a command was refused; from GUARD on it is the ``Guard`` of that number more."""

    NONE = 0
    NO_PROFILE = 1
    NOT_OPEN = 2
    ALREADY_IN_FORCE = 3
    NOT_IN_FORCE = 4
    ENDS_IN_THE_PAST = 5
    ENDS_TOO_LATE = 6
    ABOVE_LEGAL_CAP = 7
    ABOVE_CEILING = 8
    ON_HOLD = 9
    IN_ARREARS = 10
    IN_CURE = 11
    SECOND_PERSON_NEEDED = 12
    OFFER_UNKNOWN = 13
    OFFER_STALE = 14
    NOT_RAISED = 15
    GUARD = 64


class Guard(IntEnum):
    """What may hold a change back; the first that bites is told. They are asked in the order of docs/policy.md §9.8, requirements among them
    in the order of these numbers, which accounts keep."""

    NONE = 0
    CLOSED = 1
    OVERRIDE = 2
    HOLD = 3
    BLOCKED = 4
    IN_ARREARS = 5
    IN_CURE = 6
    FORBEARANCE = 7
    NOT_ELIGIBLE = 8
    IDENTITY_LAPSED = 9
    ABILITY_NOT_FRESH = 10
    OVER_INDEBTED = 11
    OPTED_OUT = 12
    QUIET_HOURS = 13
    COOL_DOWN_UP = 14
    NOTICE_RUNNING = 15
    CONSENT_MISSING = 16
    COOL_DOWN_DOWN = 17
    WARMING_UP = 18
    BUDGET_SPENT = 19
    BREAKER = 20
    NOT_EARNED = 21


class Bound(IntEnum):
    """What bound the target limit: the band, or the cap or rule that acted last."""

    BAND = 0
    PRODUCT_CAP = 1
    INCOME_CAP = 2
    RELATED_CAP = 3
    APPETITE = 4
    LEGAL_CAP = 5
    REQUESTED = 6
    CEILING = 7
    STEP = 8
    ARREARS = 9
    EXPOSURE_FLOOR = 10
    OVERRIDE = 11


CAPS: Final = 8  # Bound.BAND .. Bound.CEILING


class Out(IntEnum):
    """Columns of a decision. The standing before and after it are STANDING_COLUMNS each, in the order of ``Col``. From EXPOSURE on it is the
    evaluation's trace; the caps (by ``Bound``), the feature values and the bins by characteristic (-1: missing) stand behind."""

    EVENT = 0  # index of the event in the batch; of a sweep: place of the account in it
    SLOT = 1
    KIND = 2
    SEQUENCE = 3
    CLOCK = 4
    CAUSE = 5  # Block of a freeze or unfreeze; Refused; Announced; 1 of a close by command; band_code of a warning; Guard of an increase withheld
    PREVIOUS = 6
    NEW = 6 + STANDING_COLUMNS
    EXPOSURE = 6 + 2 * STANDING_COLUMNS
    EXPOSURE_AS_OF = 7 + 2 * STANDING_COLUMNS
    SEGMENT = 8 + 2 * STANDING_COLUMNS
    SCORE = 9 + 2 * STANDING_COLUMNS
    TARGET_BAND = 10 + 2 * STANDING_COLUMNS  # place in the segment, lowest 0
    TARGET_LIMIT = 11 + 2 * STANDING_COLUMNS
    BOUND_BY = 12 + 2 * STANDING_COLUMNS
    BUCKET = 13 + 2 * STANDING_COLUMNS
    DAYS_PAST_DUE = 14 + 2 * STANDING_COLUMNS
    WARMING_UP = 15 + 2 * STANDING_COLUMNS
    FORCED = 16 + 2 * STANDING_COLUMNS
    GUARD = 17 + 2 * STANDING_COLUMNS
    REQUIREMENT = 18 + 2 * STANDING_COLUMNS  # place of the one that bit, among the segment's in compiled order; -1: none
    SIGNALS = 19 + 2 * STANDING_COLUMNS  # bit set of the takeover signals that hold
    GUARD_UNTIL = 20 + 2 * STANDING_COLUMNS  # when the guard lets go by itself, MISSING if that is not known
    APPLIED_SEQUENCE = 21 + 2 * STANDING_COLUMNS  # of the profile
    APPLIED_LIMIT = 22 + 2 * STANDING_COLUMNS
    CURED_ON = 23 + 2 * STANDING_COLUMNS  # policy day
    BRAKE_DAY = 24 + 2 * STANDING_COLUMNS  # of the segment, and its counts of that day
    BRAKE_RAISED = 25 + 2 * STANDING_COLUMNS
    BRAKE_EVALUATED = 26 + 2 * STANDING_COLUMNS
    BRAKE_LOWERED = 27 + 2 * STANDING_COLUMNS
    EVALUATED = 28 + 2 * STANDING_COLUMNS  # 0: the trace is empty (a command refused before any profile)


CAPS_AT: Final = Out.EVALUATED + 1
VALUES_AT: Final = CAPS_AT + CAPS


def before(column: Col) -> int:
    """Column of a decision: what a column of the standing was before it."""
    return Out.PREVIOUS + column - Col.STANDING


def after(column: Col) -> int:
    """Column of a decision: what a column of the standing is after it."""
    return Out.NEW + column - Col.STANDING
