"""A compiled policy: one vector of int64 that the kernel reads, and the rules by which records become columns.

Theory of operation. ``engine.policy.compile`` lays the whole policy out in one vector, the *program* ``t``: first its single numbers and
the places of its tables (``Ru``), then the tables, each a run of entries of fixed length. A reference from one entry to another is the
place of that entry in ``t``, so ``t[t[feature + Fe.A] + Me.KIND]`` is the kind of the feature's first measure. One vector, because a
function that is handed a dozen arrays costs more in passing them than in its work. Nothing changes a program afterwards; a new version of a
policy is a new vector.
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


class MeasureKind(IntEnum):
    """Kinds of measure."""

    COUNT = 0
    SUM = 1
    MAX = 2
    DISTINCT = 3
    BALANCE = 4
    LAST_SEEN = 5


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


FACTS = len(Fact)
INSTALMENT_SOURCE = 6


class Co(IntEnum):
    """A condition: a range LOW..HIGH if RANGE is 1, else bit ``fact`` of MASK (codes 0..63)."""

    FACT = 0
    RANGE = 1
    LOW = 2
    HIGH = 3
    MASK = 4


class FeatureKind(IntEnum):
    """Kinds of feature; ``share_above`` is a SHARE whose part is a derived measure."""

    TOTAL = 0
    AVERAGE = 1
    RATIO = 2
    SHARE = 3
    DAYS_SINCE = 4
    TREND = 5
    ACTIVE_MONTHS = 6
    REGULARITY = 7
    DISTINCT = 8
    UTILISATION = 9
    DAYS_PAST_DUE = 10
    PROFILE = 11
    COMPLETENESS = 12
    TENURE = 13


class Fe(IntEnum):
    """A feature."""

    KIND = 0
    A = 1  # place of a measure, or column of the row (profile figures), or place of the first listed column
    B = 2  # second measure or column; end of the listed columns; 1 for an estimated distinct; -1 without
    WINDOW = 3  # tiles; months for ACTIVE_MONTHS and REGULARITY
    SCALE = 4
    PARTIAL_MISSING = 5  # 1: a partial window is missing


class El(IntEnum):
    """A requirement of eligibility."""

    IS_FEATURE = 0
    SOURCE = 1  # number of the feature, or column of the row
    AGE = 2  # 1: test today - value
    LOW = 3
    HIGH = 4
    MASK = 5  # words: the accepted codes as a mask
    IS_WORD = 7
    PASS_UNKNOWN = 6


class Se(IntEnum):
    """A segment, in the order of ``layout.Segment``; DEFINED 0 where the policy has no such segment. Tables are given by first and end place."""

    DEFINED = 0
    BASE_POINTS = 1
    CARD = 2  # characteristics
    CARD_END = 3
    BANDS = 4
    BANDS_END = 5
    ELIGIBILITY = 6
    ELIGIBILITY_END = 7
    PRODUCT_CAP = 8
    LEGAL_CAP = 9
    INCOME_PERCENT = 10  # 0: no income cap
    INCOME_UNKNOWN = 11
    RELATED_CAP = 12  # MISSING: none
    ROUND_TO = 13
    STEP_UP = 14  # MISSING: none
    STEP_DOWN = 15
    MINIMUM_CHANGE = 16
    UP_DAYS = 17
    DOWN_DAYS = 18
    INITIAL_LIMIT = 19  # MISSING: none
    INITIAL_BAND = 20  # band_code


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


HEAD = len(Ru)
MEASURE = len(Me)
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

    ``attributes`` and each measure's (column, width_ms, offset_ms, tiles, base) tell the codec what the cells mean; ``width`` is the row's length.
    """

    attributes: tuple[str, ...]
    measures: Ints  # (M, len(Me)), as in the program
    width: int


@dataclass(frozen=True, slots=True)
class DecodeRules:
    """What the decoder needs of a policy: vocabularies (code = place in the tuple + 1), attribute order, times and currency."""

    words: Mapping[str, tuple[str, ...]]  # category, channel, product, merchant_id, counterparty_id, jurisdiction
    attributes: tuple[str, ...]
    currency: str
    utc_offset_ms: int
    too_far_ahead_ms: int
    horizon_ms: int
