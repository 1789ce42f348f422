"""A compiled policy: the arrays that the kernel reads, and the rules by which records become columns.

``PolicyTables`` is a tuple of arrays (numba knows named tuples); ``engine.policy.compile`` makes it and nothing changes it afterwards. A new
version of a policy is a new object. All arrays are C-contiguous int64 unless said otherwise; M measures, F features, S segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Me(IntEnum):
    """Columns of ``PolicyTables.measures`` (M, len(Me))."""

    SOURCE = 0  # Topic of the event; INSTALMENT_SOURCE for instalment outcomes
    KIND = 1  # MeasureKind
    VALUE = 2  # Fact summed or maximised; for distinct: the Ev column of the word's code or hash
    WHERE = 3  # first condition
    WHERE_END = 4
    MINUS = 5  # first condition of `minus`
    MINUS_END = 6
    WIDTH = 7  # tile width, ms; 0: unwindowed
    OFFSET = 8  # UTC offset, ms
    TILES = 9  # ring length; 1 for unwindowed
    BASE = 10  # first cell in the row
    ADDED_AT = 11  # ms
    COLUMN = 12  # number for ever, see `policy promote`
    CLOSED_SET = 13  # distinct: row of `closed_sets`, -1 for an open set
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
    """Columns of ``PolicyTables.conditions``: a range LOW..HIGH if RANGE is 1, else bit ``fact`` of MASK (codes 0..63)."""

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
    """Columns of ``PolicyTables.features`` (F, len(Fe))."""

    KIND = 0
    A = 1  # measure, or column of the row (profile figures), or first entry of `listed`
    B = 2  # second measure or column; end in `listed`; -1 without
    WINDOW = 3  # tiles; months for ACTIVE_MONTHS and REGULARITY
    SCALE = 4
    PARTIAL_MISSING = 5  # 1: a partial window is missing


class El(IntEnum):
    """Columns of ``PolicyTables.eligibility``."""

    IS_FEATURE = 0
    SOURCE = 1  # feature, or column of the row
    AGE = 2  # 1: test today - value
    LOW = 3
    HIGH = 4
    MASK_ROW = 5  # row of `word_masks` (words), -1
    PASS_UNKNOWN = 6


class Se(IntEnum):
    """Columns of ``PolicyTables.segments`` (2, len(Se)), by Segment; DEFINED 0 where the policy has no such segment."""

    DEFINED = 0
    BASE_POINTS = 1
    CARD = 2  # characteristics CARD..CARD_END of `cards`
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
    """Columns of ``PolicyTables.cards``: one characteristic."""

    FEATURE = 0
    BINS = 1
    BINS_END = 2
    MISSING_POINTS = 3


class Bi(IntEnum):
    """Columns of ``PolicyTables.bins``; the first bin's LOWER is the least int64."""

    LOWER = 0
    POINTS = 1


class Ba(IntEnum):
    """Columns of ``PolicyTables.bands``, ascending; the lowest band's LOWER is the least int64 ÷ 2."""

    CODE = 0
    LOWER = 1
    UP_MARGIN = 2
    DOWN_MARGIN = 3
    LIMIT = 4


class Ru(IntEnum):
    """Indices of ``PolicyTables.rules``: the policy's single numbers."""

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


class PolicyTables(NamedTuple):
    """What the kernel reads of a policy."""

    rules: Ints
    measures: Ints
    conditions: Ints
    closed_sets: Ints  # (rows, 64): bit of each word code, -1 outside the set
    features: Ints
    listed: Ints  # columns of the row, for completeness
    eligibility: Ints
    word_masks: Ints  # (rows, 64): 1 where the word's code is accepted
    segments: Ints
    cards: Ints
    bins: Ints
    bands: Ints
    sketch: Ints  # (65,): estimate by number of clear bits


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Shape of an account's row under one policy (the fixed part stands in ``layout``).

    ``attributes`` and each measure's (column, width_ms, offset_ms, tiles, base) tell the codec what the cells mean; ``width`` is the row's length.
    """

    attributes: tuple[str, ...]
    measures: Ints  # (M, len(Me)), the same array as PolicyTables.measures
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
