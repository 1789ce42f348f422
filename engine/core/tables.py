"""A compiled policy: one vector of int64 that the kernel reads, and the rules by which records become columns.

Theory of operation. ``engine.policy.compile`` lays the whole policy out in one vector, the *program* ``t``: first its single numbers and
the places of its tables (``Ru``), then the tables, each a run of entries of fixed length. A reference from one entry to another is the
place of that entry in ``t``, so ``t[t[feature + Fe.A] + Me.KIND]`` is the kind of the feature's first measure. One vector, because a
function that is handed a dozen arrays costs more in passing them than in its work. A new version of a policy is a new vector; all that changes
in one is the end of a segment's entry, where the shard says what is in force and the kernel counts (``engine.core.brakes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Me(IntEnum):
    """A measure."""

    SOURCE = 0  # Topic of the event; INSTALMENT_SOURCE for instalment outcomes
    KIND = 1  # MeasureKind
    VALUE = 2  # Fact summed or maximised; for distinct: the Ev column of the word's code or hash
    WHERE = 3  # place of the first condition
    WHERE_END = 4
    MINUS = 5  # first condition of `minus`
    MINUS_END = 6
    WIDTH = 7  # tile width, ms; 0: unwindowed
    OFFSET = 8  # UTC offset, ms
    TILES = 9  # ring length; 1 for unwindowed
    BASE = 10  # first cell in the row
    ADDED_AT = 11  # ms
    COLUMN = 12  # number for ever, see `policy promote`
    CLOSED_SET = 13  # distinct: place of 64 bit numbers by word code (-1: outside the set); -1 for an open set
    LOCAL_HOUR = 14  # 1 if a condition asks for it
    WINDOWS = 15  # the windows over its tiles that features read
    WINDOWS_END = 16
    NET_OF = 17  # place of the round_trips measure whose money is left out; -1 without
    DAYS = 18  # top: days of a half-life; round_trips: how long a transfer is remembered
    INDEX = 19  # windowed: first word of the ring's index in the row (``rings``)


class Wi(IntEnum):
    """A window over a measure's tiles, and the cell of the row that holds its value."""

    NEWEST = 0  # how many tiles before the head its newest one lies
    TILES = 1
    CELL = 2


class Gr(IntEnum):
    """The measures whose head moves at the same instants: equal tiles on an equal offset. Round trips go with the days."""

    WIDTH = 0
    OFFSET = 1
    MEASURES = 2  # where their places are listed
    MEASURES_END = 3


class MeasureKind(IntEnum):
    """Kinds of measure."""

    COUNT = 0
    SUM = 1
    MAX = 2
    DISTINCT = 3
    BALANCE = 4
    LAST_SEEN = 5
    TOP = 6
    ROUND_TRIPS = 7


class Fact(IntEnum):
    """What a condition or a value can read of one event (the kernel's scratch vector)."""

    AMOUNT = 0
    AMOUNT_DUE = 1
    DAYS_LATE = 2
    LOCAL_HOUR = 3
    CATEGORY = 4
    CHANNEL = 5
    PRODUCT = 6
    FUNDED_BY = 7
    DIRECTION = 8
    PURPOSE = 9
    MERCHANT = 10
    COUNTERPARTY = 11
    OUTCOME = 12
    UTILISATION = 13
    AT = 14  # the time that conditions go by


FACTS = len(Fact)
INSTALMENT_SOURCE = 6
USAGE_SOURCE = 7
SOURCES = 8


class Co(IntEnum):
    """A condition: LOW..HIGH holds the fact (RANGE 1), or the days (2) or hours (3) since what the row's cell FACT saw last; else (RANGE 0)
    bit ``fact`` of MASK is set (codes 0..63)."""

    FACT = 0
    RANGE = 1
    LOW = 2
    HIGH = 3
    MASK = 4


class FeatureKind(IntEnum):
    """Kinds of feature. ``average`` is a RATIO of scale 1, ``share_above`` a SHARE whose part is a derived measure, ``trend`` a RATIO of two
    windows of one measure, ``tenure`` a SINCE_DATE of the day the account was opened."""

    TOTAL = 0
    BALANCE = 1
    RATIO = 2
    SHARE = 3
    DAYS_SINCE = 4
    ACTIVE_MONTHS = 5
    REGULARITY = 6
    DISTINCT = 7
    NEWLY_SEEN = 8
    REACHING = 9
    CONCENTRATION = 10
    UTILISATION = 11  # from here on: what reads the profile, the instalments or the standing
    DAYS_PAST_DUE = 12
    PROFILE = 13
    COMPLETENESS = 14
    SINCE_DATE = 15


class Fe(IntEnum):
    """A feature."""

    KIND = 0
    A = 1  # cell of the row: of the (first) window, balance, last seen or profile figure; place of the first listed column or cell
    B = 2  # second cell; of monthly kinds the number of cells from A on; end of what is listed; 1 for an estimated distinct; -1 without
    SCALE = 3  # reaching: the amount to reach; newly_seen: 1 if estimated
    PARTIAL_MEASURE = 4  # where a partial window is to be missing: a measure, -1 otherwise
    PARTIAL_SECOND = 5  # and the second one, -1 without
    PARTIAL_TILES = 6  # and how far back the feature looks
    PER = 7  # total: cell of the figure that it is divided by, -1 without


class El(IntEnum):
    """A test: a requirement of eligibility, a warning of over-borrowing, or a signal of a takeover."""

    IS_FEATURE = 0
    SOURCE = 1  # number of the feature, or column of the row
    AGE = 2  # 1: test today - value
    LOW = 3
    HIGH = 4
    IS_WORD = 5  # 1: test the code's bit in MASK; 2: look for the code in the program from LOW to HIGH
    MASK = 6
    PASS_UNKNOWN = 7
    GUARD = 8  # that it is asked for
    CODE = 9  # band_code of its code
    POINTS = 10  # of a signal


class Se(IntEnum):
    """A segment, in the order of ``layout.Segment``; DEFINED 0 where the policy has no such segment. Tables are given by first and end place."""

    DEFINED = 0
    BASE_POINTS = 1
    CARD = 2  # characteristics
    CARD_END = 3
    BANDS = 4
    BANDS_END = 5
    ELIGIBILITY = 6  # by guard, then code
    ELIGIBILITY_END = 7
    FEATURES = 8  # numbers of the features that the scorecard reads, then of those that only eligibility reads
    FEATURES_END = 9
    SCORED_END = 23  # the end of the former
    PRODUCT_CAP = 10
    LEGAL_CAP = 11
    INCOME_PERCENT = 12  # 0: no income cap
    INCOME_UNKNOWN = 13
    RELATED_CAP = 14  # MISSING: none
    ROUND_TO = 15
    STEP_UP = 16  # MISSING: none
    STEP_DOWN = 17
    MINIMUM_CHANGE = 18
    UP_DAYS = 19
    DOWN_DAYS = 20
    INITIAL_LIMIT = 21  # MISSING: none
    INITIAL_BAND = 22  # band_code
    WARNINGS = 24  # by code
    WARNINGS_END = 25
    SIGNALS = 26
    SIGNALS_END = 27
    TIERS = 28  # entries like bands, LIMIT is the yearly rate
    TIERS_END = 29
    CONSENT_NEEDED = 30
    UNSOLICITED = 31
    OFFER_DAYS = 32
    OFFER_REST_DAYS = 33
    QUIET = 34  # 1: there are quiet hours
    QUIET_FROM = 35
    QUIET_TO = 36
    NOTICE_DAYS = 37
    ADVISORY_DAYS = 38
    LONGEST_MS = 39
    SECOND_PERSON_FROM = 40  # MISSING: never
    FREEZE_FROM = 41
    TAKEOVER_REST_DAYS = 42
    RISE_NOTICE_DAYS = 43
    APPETITE = 44  # written by the shard: the appetite in force
    APPETITE_DAY = 45  # and the policy day since which it is
    BUDGET = 46  # this shard's share, MISSING: none
    BREAKER_PERCENT = 47  # 0: none
    MIN_EVALUATIONS = 48  # this shard's share
    BRAKE_DAY = 49  # from here on what the kernel counts, and the shard keeps
    RAISED = 50  # on that day
    EVALUATED = 51
    LOWERED = 52
    BUDGET_TOLD = 53
    TRIPPED = 54  # 1: not told yet; 2: told
    EXPECTED = 55  # decreases by the appetite that are still expected


class Ca(IntEnum):
    """A characteristic of a scorecard."""

    FEATURE = 0  # number of the feature
    BINS = 1
    BINS_END = 2
    MISSING_POINTS = 3


class Bi(IntEnum):
    """A bin; the first bin's LOWER is below every value."""

    LOWER = 0
    POINTS = 1


class Ba(IntEnum):
    """A band, ascending; the lowest band's LOWER is below every score."""

    CODE = 0
    LOWER = 1
    UP_MARGIN = 2
    DOWN_MARGIN = 3
    LIMIT = 4
    CONTRACTION_PERCENT = 5  # of the limit
    CONTRACTION_DAYS = 6  # from so many days after the contraction on
    EXPANSION_PERCENT = 7
    EXPANSION_DAYS = 8


class Ru(IntEnum):
    """The head of a program: the policy's single numbers, and where its tables begin and end."""

    UTC_OFFSET = 0  # ms
    NEEDS_PROFILE = 1
    DEFAULT_SEGMENT = 2
    GRACE_DAYS = 3
    TOLERANCE = 4
    CURE_DAYS = 5
    BUCKET_1 = 6
    BUCKET_2 = 7
    BUCKET_3 = 8
    BUCKET_4 = 9
    BLOCK_DRAWING_BUCKET = 10
    LIMIT_TO_EXPOSURE_BUCKET = 11
    ATTRIBUTES = 12  # number of attribute columns
    MEASURES = 13
    MEASURES_END = 14
    FEATURES = 15
    FEATURES_END = 16
    SEGMENTS = 17
    CHARACTERISTICS_MAX = 18  # of the longest scorecard
    SKETCH = 19  # 65 estimates of an open distinct by number of clear bits
    RECONCILE_MS = 20  # MISSING: no mismatch is told
    SOURCES = 21  # first and end place of the measures of each source, by its number
    GROUPS = 22  # measures by their tiles
    GROUPS_END = 23
    RINGS = 24  # where the rings begin in a row: what stands before them is written anew for a blank one


HEAD = len(Ru)
MEASURE = len(Me)
WINDOW = len(Wi)
GROUP = len(Gr)
CONDITION = len(Co)
FEATURE = len(Fe)
REQUIREMENT = len(El)
SEGMENT = len(Se)
CHARACTERISTIC = len(Ca)
BIN = len(Bi)
BAND = len(Ba)


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Shape of an account's row under one policy (the fixed part stands in ``layout``).

    ``attributes`` and each measure's (column, width_ms, offset_ms, tiles, base, index) tell the codec what the cells mean. ``width`` is the
    row's length. Behind the attributes stand the measures without tiles, the indexes of the rings, the window values and the rings; no store
    holds indexes and windows (``rings``, ``windows.rebuild``).
    """

    attributes: tuple[str, ...]
    measures: Ints  # (M, len(Me)), as in the program
    width: int


@dataclass(frozen=True, slots=True)
class DecodeRules:
    """What the decoder needs of a policy: vocabularies (code = place in the tuple + 1), attribute order, times and currency."""

    words: Mapping[str, tuple[str, ...]]  # category, channel, product, merchant_id, counterparty_id
    attributes: tuple[str, ...]
    currency: str
    utc_offset_ms: int
    too_far_ahead_ms: int
    horizon_ms: int
