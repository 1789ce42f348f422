"""RFC 3339 times to epoch milliseconds, compiled: ``2026-03-01T08:15:30.123456+08:00``.

Only the ordinary form is read, of an instant in the years 1 to 9999 of UTC: capital ``T`` and ``Z``, seconds below 60, a ``.`` and 1 to 9
digits, an offset below 24 hours.
Digits beyond the millisecond are cut off, which rounds towards minus infinity before 1970 as well.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.jit import compiled
from engine.core.layout import DAY_MS, MISSING
from engine.core.packed import Bytes, Words
from engine.stream.decode.text import HIGH

# Texts with every digit 0, and what to add to a byte so that its high bit shows a digit above 9 or a wrong separator.
DATE: Final = np.uint64(int.from_bytes(b"0000-00-", "little"))
DATE_LIMITS: Final = np.uint64(int.from_bytes(bytes(0x76 if c == 0x30 else 0x7F for c in b"0000-00-"), "little"))
CLOCK: Final = np.uint64(int.from_bytes(b"00T00:00", "little"))
CLOCK_LIMITS: Final = np.uint64(int.from_bytes(bytes(0x76 if c == 0x30 else 0x7F for c in b"00T00:00"), "little"))
DATE_LENGTH: Final = 10
SHORTEST: Final = 20
EPOCH_DAYS: Final = 719_162  # from 0001-01-01 to 1970-01-01
FIRST_MS: Final = -EPOCH_DAYS * DAY_MS
END_MS: Final = 2_932_897 * DAY_MS  # 10000-01-01


@compiled
def two_digits(data: Bytes, at: int) -> int:
    """The number that two digits spell, at least 100 if they are none."""
    tens, ones = np.int64(data[at]) - 48, np.int64(data[at + 1]) - 48
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else 100


@compiled
def pair(digits: np.uint64, place: int) -> int:
    """The number at byte ``place`` of a word of two-digit numbers."""
    return np.int64((digits >> np.uint64(8 * place)) & np.uint64(0xFF))


@compiled
def days_of(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the Gregorian calendar; MISSING if there is no such date."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or not 1 <= month <= 12 or day < 1:
        return MISSING
    length = 30 + ((month + month // 8) & 1) if month != 2 else 28 + leap
    if day > length:
        return MISSING
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - EPOCH_DAYS
    days += (367 * month - 362) // 12 + day - 1
    return days if month <= 2 else days - 2 + leap


@compiled
def offset_ms(data: Bytes, at: int, end: int) -> int:
    """The UTC offset that ``Z`` or ``+hh:mm`` spells between ``at`` and ``end``; MISSING if neither does."""
    if end - at == 1 and data[at] == 0x5A:
        return 0
    if end - at != 6 or data[at + 3] != 0x3A or (data[at] != 0x2B and data[at] != 0x2D):
        return MISSING
    hours, minutes = two_digits(data, at + 1), two_digits(data, at + 4)
    if hours > 23 or minutes > 59:
        return MISSING
    offset = (hours * 60 + minutes) * 60_000
    return -offset if data[at] == 0x2D else offset


@compiled
def date_days(data: Bytes, words: Words, at: int) -> int:
    """Days from 1970-01-01 to the date spelled in the ten bytes from ``at`` on; MISSING if it is not of the form ``2026-03-01``."""
    date = words[at] ^ DATE
    if ((date + DATE_LIMITS) | date) & HIGH != np.uint64(0):
        return MISSING
    date = date * np.uint64(10) + (date >> np.uint64(8))
    return days_of(pair(date, 0) * 100 + pair(date, 2), pair(date, 5), two_digits(data, at + 8))


@compiled
def day_number(data: Bytes, words: Words, at: int, end: int, utc_offset_ms: int) -> int:
    """The number of the date spelled between ``at`` and ``end``, or of the day in which the instant spelled there lies, by an offset from UTC;
    MISSING if it is neither."""
    if end - at == DATE_LENGTH:
        return date_days(data, words, at)
    moment = time_ms(data, words, at, end)
    return MISSING if moment == MISSING else (moment + utc_offset_ms) // DAY_MS


@compiled
def time_ms(data: Bytes, words: Words, at: int, end: int) -> int:
    """Epoch milliseconds of the time spelled between ``at`` and ``end``; MISSING if it is not of the ordinary form."""
    if end - at < SHORTEST:
        return MISSING
    date, clock = words[at] ^ DATE, words[at + 8] ^ CLOCK
    if ((date + DATE_LIMITS) | date | (clock + CLOCK_LIMITS) | clock) & HIGH != np.uint64(0) or data[at + 16] != 0x3A:
        return MISSING
    date = date * np.uint64(10) + (date >> np.uint64(8))
    clock = clock * np.uint64(10) + (clock >> np.uint64(8))
    days = days_of(pair(date, 0) * 100 + pair(date, 2), pair(date, 5), pair(clock, 0))
    hour, minute, second = pair(clock, 3), pair(clock, 6), two_digits(data, at + 17)
    if days == MISSING or hour > 23 or minute > 59 or second > 59:
        return MISSING
    at += 19
    thousandths = 0
    if data[at] == 0x2E:
        first = at + 1
        unit = 100
        at = first
        while 48 <= data[at] <= 57:
            thousandths += (np.int64(data[at]) - 48) * unit
            unit //= 10
            at += 1
        if not 1 <= at - first <= 9:
            return MISSING
    offset = offset_ms(data, at, end)
    if offset == MISSING:
        return MISSING
    moment = days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + thousandths - offset
    return moment if FIRST_MS <= moment < END_MS else MISSING
