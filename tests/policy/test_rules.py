"""Every rule between fields: a text that keeps it, and one that breaks it with the place and the words it is told in."""

from __future__ import annotations

from pathlib import Path
from random import Random
from textwrap import indent
from typing import Any, Final, cast, get_args

import pytest
from annotated_types import Le, MaxLen
from pydantic import BaseModel
from ruamel.yaml import YAML

from engine.policy.document import AMOUNT_MAX, POINTS_MAX, Limits, Regularity, Scale, Segment, Total
from engine.policy.verify import verify
from tests.generate.policies import random_policy
from tests.policy.texts import completed, mistakes

CASES: Final[list[dict[str, Any]]] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("rules.yaml").read_text("utf-8"))
SEGMENT: Final = {
    "base_points": "base_points: 0",
    "scorecard": "scorecard: [{feature: f, bins: [{points: 0}], missing: 0}]",
    "bands": "bands: [{name: none, limit_minor: 0}]",
    "limits": "limits: {product_cap_minor: 10_000, legal_cap_minor: 10_000, round_to_minor: 1}",
    "cool_down": "cool_down: {up_days: 0, down_days: 0}",
}


def whole(text: str, segment: bool) -> str:
    """The policy around a part; a part of a segment begins in line 3, indented by 4."""
    if not segment:
        return completed(text)
    present = {line.partition(":")[0] for line in text.split("\n")}
    fields = "\n".join([text.rstrip("\n"), *(line for key, line in SEGMENT.items() if key not in present)])
    return completed("segments:\n  - name: individual\n" + indent(fields, " " * 4))


@pytest.mark.parametrize("case", CASES, ids=[case["rule"] for case in CASES])
def test_a_rule_is_kept_and_broken(case: dict[str, Any]) -> None:
    segment = case.get("segment", False)
    assert mistakes(whole(case["passes"], segment)) == []
    assert mistakes(whole(case["fails"], segment)) == case["says"]


def test_derived_measures_count_as_measures() -> None:
    measures = ", ".join(f"{{name: m{i}, event: purchase, kind: sum}}" for i in range(127))
    features = ", ".join(f"{{name: f{i}, kind: share_above, measure: m{i}, amount_minor: 5, window_days: 1}}" for i in range(2))
    text = f"measures: [{measures}]\nfeatures: [{{name: f, kind: tenure}}, {features}]\n"
    assert mistakes(completed(text)) == ["1:11: measures: with those that share_above derives there are 129 measures, at most 128"]
    assert mistakes(completed(text.replace("measure: m1,", "measure: m0,"))) == []


def bound(model: type[BaseModel], field: str, kind: type[Le | MaxLen]) -> int:
    """The largest value or number of items that a field allows."""
    found = next(constraint for constraint in model.model_fields[field].metadata if isinstance(constraint, kind))
    return int(cast(Any, found.le if isinstance(found, Le) else found.max_length))


def test_scores_fit_32_bits_and_windows_fit_64() -> None:
    """What ``verify`` leaves to the bounds of single fields."""
    characteristics = bound(Segment, "scorecard", MaxLen)
    assert bound(Segment, "base_points", Le) == POINTS_MAX
    assert (characteristics + 1) * POINTS_MAX + 2 * POINTS_MAX < 2**31
    tiles = max(bound(Total, "window_days", Le), 30 * bound(Regularity, "window_months", Le), 48)
    assert tiles <= 1000
    assert tiles * AMOUNT_MAX < 2**63
    assert max(get_args(Scale)) * AMOUNT_MAX < 2**63
    assert bound(Limits, "round_to_minor", Le) + AMOUNT_MAX < 2**63


def test_any_valid_document_can_be_verified() -> None:
    """Generated policies are not tidy, but nothing in them is out of order for ``verify``."""
    for seed in range(30):
        for problem in verify(random_policy(Random(seed), 15)):
            assert problem.message
