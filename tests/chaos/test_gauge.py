"""What is made of the looks."""

from __future__ import annotations

import pytest

from tests.chaos.gauge import MB, Look, rates, slope


def looks(sizes: list[tuple[int, ...]], taken: list[tuple[int, ...] | None], every_s: float = 10.0) -> list[Look]:
    return [Look(place * every_s, size, has, (100, 100)) for place, (size, has) in enumerate(zip(sizes, taken, strict=True))]


def test_the_slope_is_that_of_all_workers_together_in_megabytes_an_hour() -> None:
    found = looks([(100 * MB + n * MB, 50 * MB + (-1) ** n) for n in range(361)], [None] * 361)
    assert slope(found) == pytest.approx(360, abs=0.1)


def test_rates_are_taken_where_the_store_told() -> None:
    found = looks([(1,)] * 5, [None, (0, 10), None, (40, 10), None])
    assert rates(found, 2) == [2.0, 0.0]
    assert rates(found[:2], 2) == [0.0, 0.0]


def test_what_nobody_has_taken_lags() -> None:
    assert [look.lag() for look in looks([(1,)] * 2, [(60, 100), None])] == [40, 0]
