"""One account as the engine sees it: the held standing, and what the policy makes of it at this moment.

The account's row is decoded and judged by the kernel itself, on a copy: the points shown are those that the next event would be decided by.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from pydantic_core import from_json

from engine.core.decide import EMISSIONS_MAX, look
from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES_AT,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    LEG_FIELDS,
    MISSING,
    ROUND_TRIPS_MAX,
    SETTLED_BIT,
    TOPS_MAX,
    Col,
    Direction,
    Fig,
    Inst,
    Leg,
    Outcome,
    Top,
)
from engine.core.tables import FACTS, Ints, Me, MeasureKind
from engine.core.windows import tile_of
from engine.policy.compile import CompiledPolicy
from engine.policy.expand import expanded_measures
from engine.policy.fragments import instant
from engine.state.account_rows import row_of
from engine.stream.render import Renderer

CELL: Final = (1 << 64) - 1
EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC)


def inspect_account(policy: CompiledPolicy, application: str, account: bytes, value: bytes, now_ms: int) -> dict[str, Any]:
    """Everything about an account's encoded state as plain values; ``now_ms`` is the shard's clock. Raises StateFormatError."""
    row = row_of(policy, account, value)
    return {
        "account_id": account.decode(),
        "as_of": instant(int(row[Col.CLOCK])),
        "events_accepted": int(row[Col.ACCEPTED]),
        "sequence": int(row[Col.SEQUENCE]),
        **_judged(policy, application, row.copy(), now_ms),
        "last_change_on": _date(row[Col.LAST_CHANGE_DAY]),
        "last_decrease_on": _date(row[Col.LAST_DECREASE_DAY]),
        "profile": _profile(policy, row),
        "instalments": _instalments(row),
        "measures": _measures(policy, row),
    }


def _judged(policy: CompiledPolicy, application: str, row: Ints, now_ms: int) -> dict[str, Any]:
    """The standing and the trace at the shard's clock. ``row`` is used up."""
    t, decisions = policy.program, np.zeros((EMISSIONS_MAX, policy.decision_columns), np.int64)
    told = np.zeros((1, policy.decision_columns), np.int64)
    is_judged = look(t, row, now_ms, np.zeros(FACTS, np.int64), decisions, told)
    renderer, judged = Renderer(policy, application, 0), told[0]
    cost = renderer.cost(judged)
    return {
        "judged_at": instant(int(row[Col.CLOCK])),
        "standing": from_json(renderer.standing(judged)),
        "assessment": from_json(renderer.trace(judged)) if is_judged else None,
        "cost": None if cost is None else from_json(cost),
    }


def _profile(policy: CompiledPolicy, row: Ints) -> dict[str, int]:
    figures = {figure.name.lower(): int(row[FIGURES_AT + figure]) for figure in Fig}
    attributes = {name: int(row[ATTRIBUTES_AT + i]) for i, name in enumerate(policy.layout.attributes)}
    return {name: value for name, value in (figures | attributes).items() if value != MISSING}


def _instalments(row: Ints) -> list[dict[str, Any]]:
    """The held instalments in order of due date; loans are known by fingerprint only."""
    found = []
    for index in range(int(row[Col.INSTALMENTS])):
        at = INSTALMENTS_AT + index * INSTALMENT_FIELDS
        flags = int(row[at + Inst.FLAGS])
        found.append(
            {
                "loan_fingerprint": f"{int(row[at + Inst.LOAN]) & (2**64 - 1):016x}",
                "due_at": instant(int(row[at + Inst.DUE_AT])),
                "due_minor": int(row[at + Inst.DUE]),
                "paid_minor": int(row[at + Inst.PAID]),
                "settled": bool(flags & SETTLED_BIT),
                "outcomes": [outcome.name.lower() for outcome in Outcome if flags >> outcome & 1],
            }
        )
    return sorted(found, key=lambda entry: (str(entry["due_at"]), str(entry["loan_fingerprint"])))


def _measures(policy: CompiledPolicy, row: Ints) -> list[dict[str, Any]]:
    """Each measure's tiles that are not empty, newest first; of those without tiles what they hold. Words are known by fingerprint only."""
    found = []
    for measure, entry in zip(expanded_measures(policy.document), policy.layout.measures, strict=True):
        kind, base = MeasureKind(entry[Me.KIND]), int(entry[Me.BASE])
        told: dict[str, Any] = {"measure": measure.name, "kind": kind.name.lower()}
        if kind is MeasureKind.BALANCE:
            told["value"] = int(row[base])
        elif kind is MeasureKind.LAST_SEEN:
            told["value"] = None if row[base] == MISSING else instant(int(row[base]))
        elif kind is MeasureKind.TOP:
            told["total_minor"], told["words"] = int(row[base + Top.TOTAL]), _words(row, base)
        elif kind is MeasureKind.ROUND_TRIPS:
            told["transfers"] = _transfers(row, base)
        else:
            told["tiles"] = _tiles(entry, row, kind)
        found.append(told)
    return found


def _words(row: Ints, base: int) -> list[dict[str, Any]]:
    """The words of a top, the largest amount first."""
    places = range(base + Top.FIRST, base + Top.FIRST + 2 * TOPS_MAX, 2)
    held = sorted(((int(row[place + 1]), int(row[place])) for place in places if row[place + 1]), reverse=True)
    return [{"fingerprint": f"{word:08x}", "amount_minor": amount} for amount, word in held]


def _transfers(row: Ints, base: int) -> list[dict[str, Any]]:
    """The transfers that round trips remember, in order of arrival."""
    legs = row[base : base + LEG_FIELDS * ROUND_TRIPS_MAX].reshape(-1, LEG_FIELDS)
    return [
        {
            "at": instant(int(leg[Leg.AT])),
            "counterparty_fingerprint": f"{int(leg[Leg.PARTY]) & (2**64 - 1):016x}",
            "direction": Direction(leg[Leg.WORDS] & 3).name.lower(),
            "amount_minor": int(leg[Leg.AMOUNT]),
            "rest_minor": int(leg[Leg.REST]),
        }
        for leg in legs
        if leg[Leg.AT]
    ]


def _tiles(entry: Ints, row: Ints, kind: MeasureKind) -> list[dict[str, Any]]:
    width, offset, count, base = (int(entry[column]) for column in (Me.WIDTH, Me.OFFSET, Me.TILES, Me.BASE))
    head = tile_of(int(row[Col.CLOCK]), offset, width)
    tiles = []
    for tile in range(head, head - count, -1):
        cell = int(row[base + tile % count])
        if cell:
            value = (cell & CELL).bit_count() if kind is MeasureKind.DISTINCT else cell
            tiles.append({"from": instant(tile * width - offset), "value": value})
    return tiles


def _date(day: int) -> str | None:
    return None if day == MISSING else (EPOCH_DAY + timedelta(days=int(day))).date().isoformat()
