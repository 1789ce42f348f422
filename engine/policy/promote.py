"""Promotion: what makes a document a version of the deployment's policy for ever.

Theory of operation. Tiles are stored under a measure's *column*, a number that is given once and never again. A measure that means the same
as one of the previous version keeps its column, whatever its name or place; any other gets the next number, and ``next_column`` in the
document remembers the numbers of measures that are gone. ``added_at`` says from when on a column has been filled: nothing in the first
version (it was always measured), the moment of promotion for a new measure. A measure that keeps its column but must look further back than
before has been kept only as far as before, so its ``added_at`` moves up to the oldest tile there is: its windows are partial until then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Final

from engine.policy.document import Condition, Measure, Policy
from engine.policy.expand import TILE_MS, UNWINDOWED, expanded_measures, tiles_kept

COLUMNS_MAX: Final = 65_536
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def promote(policy: Policy, previous: Policy | None, now: datetime) -> Policy:
    """The document with derived measures written out and every measure's ``column`` and ``added_at``.

    ``previous`` is the version in force (promoted), None for a deployment's first one; what ``policy`` itself says of columns and dates is not
    looked at. Raises ValueError if ``now`` has no UTC offset, if ``policy`` is not combined with its packs yet, if ``previous`` was not promoted,
    or if the column numbers are used up.
    """
    must_be_combined(policy)
    if now.tzinfo is None:
        raise ValueError("the moment of promotion needs a UTC offset")
    measures = expanded_measures(policy)
    kept = _kept(measures, policy, previous)
    next_column = 0 if previous is None else _next_column(previous)
    promoted = []
    for measure in measures:
        same = kept.get(measure.name)
        if same is not None and previous is not None:
            column, added_at = same.column, _filled_since(measure, policy, same, previous, now)
        else:
            column, added_at = next_column, None if previous is None else rfc3339(now)
            next_column += 1
        promoted.append(measure.model_copy(update={"column": column, "added_at": added_at}))
    if next_column > COLUMNS_MAX:
        raise ValueError(f"a deployment has at most {COLUMNS_MAX} measures over all versions of its policy")
    return policy.model_copy(update={"measures": tuple(promoted), "next_column": next_column})


def must_be_combined(policy: Policy) -> None:
    """Raises ValueError if a policy names packs that it is not combined with yet: what it says is not what the law lets it do."""
    if policy.packs is not None:
        names = ", ".join(use.pack for use in policy.packs)
        raise ValueError(f"policy {policy.policy} is not combined with its packs ({names}) yet: load it with the day whose law holds")


def canonical_bytes(policy: Policy) -> bytes:
    """The document as JSON with sorted keys and no white space, without what was left unsaid: the bytes that are hashed and sent."""
    plain = policy.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def policy_hash(policy: Policy) -> str:
    """SHA-256 of ``canonical_bytes``, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_bytes(policy)).hexdigest()


def rfc3339(moment: datetime) -> str:
    """An instant as UTC with milliseconds, ``2026-03-01T08:00:00.000Z``; finer digits are cut off."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def meaning(measure: Measure, policy: Policy) -> Hashable:
    """What a measure accumulates, apart from its name: two measures of equal meaning hold equal tiles.

    The order of conditions and of their words means nothing; the order of a closed set does (a word's place is its bit).
    """
    of = measure.of
    if of is None and measure.kind in ("sum", "max", "balance"):
        of = "amount_minor"
    return (
        measure.event,
        measure.kind,
        of,
        _conjunction(measure.where, policy),
        _conjunction(measure.minus, policy),
        measure.closed_set,
        measure.tile,
        _utc_offset_minutes(measure, policy),
        measure.half_life_days,
        measure.within_days,
        _meaning_of(measure.net_of, policy, ("round_trips",)),
    )


def _meaning_of(name: str | None, policy: Policy, kinds: tuple[str, ...]) -> Hashable:
    """What a measure named by another one accumulates, whatever its name; the name itself where it is not of these kinds, which is a mistake."""
    named = next((measure for measure in policy.measures if measure.name == name and measure.kind in kinds), None)
    if named is None:
        return name
    plain = named.model_copy(update={"net_of": None, "where": tuple(c.model_copy(update={"of": None}) for c in named.where)})
    return meaning(plain, policy)


def _conjunction(conditions: tuple[Condition, ...], policy: Policy) -> frozenset[Hashable]:
    return frozenset(
        (
            condition.field,
            _meaning_of(condition.of, policy, ("last_seen",)),
            None if condition.is_in is None else frozenset(condition.is_in),
            None if condition.not_in is None else frozenset(condition.not_in),
            condition.at_least,
            condition.at_most,
            condition.from_hour,
            condition.to_hour,
        )
        for condition in conditions
    )


def _utc_offset_minutes(measure: Measure, policy: Policy) -> int:
    return policy.utc_offset_minutes if measure.utc_offset_minutes is None else measure.utc_offset_minutes


def _kept(measures: tuple[Measure, ...], policy: Policy, previous: Policy | None) -> dict[str, Measure]:
    """For each measure that the previous version has too, by its new name: that one. Equal names go first, each column goes once."""
    if previous is None:
        return {}
    held: dict[Hashable, dict[str, Measure]] = {}
    for measure in previous.measures:
        held.setdefault(meaning(measure, previous), {})[measure.name] = measure
    kept: dict[str, Measure] = {}
    for measure in measures:
        same = held.get(meaning(measure, policy), {}).pop(measure.name, None)
        if same is not None:
            kept[measure.name] = same
    for measure in measures:
        others = held.get(meaning(measure, policy))
        if measure.name not in kept and others:
            kept[measure.name] = others.pop(next(iter(others)))
    return kept


def _next_column(previous: Policy) -> int:
    columns = [measure.column for measure in previous.measures if measure.column is not None]
    if len(columns) < len(previous.measures):
        raise ValueError(f"version {previous.version} of policy {previous.policy} was not promoted: it has measures without a column")
    return max(max(columns) + 1, previous.next_column or 0)


def _filled_since(measure: Measure, policy: Policy, same: Measure, previous: Policy, now: datetime) -> str | None:
    """``added_at`` of a measure that stays: as it was, unless it must look further back than it was kept."""
    tiles_before = tiles_kept(previous)[same.name]
    if measure.kind in UNWINDOWED or tiles_kept(policy)[measure.name] <= tiles_before:
        return same.added_at
    width_ms = TILE_MS[measure.tile]
    offset_ms = _utc_offset_minutes(measure, policy) * 60_000
    head = ((now - _EPOCH) // _MS + offset_ms) // width_ms
    oldest = _EPOCH + ((head - tiles_before + 1) * width_ms - offset_ms) * _MS
    if same.added_at is not None and datetime.fromisoformat(same.added_at) >= oldest:
        return same.added_at
    return rfc3339(oldest)
