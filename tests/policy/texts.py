"""A small valid policy as text, and how tests say something else in its place."""

from __future__ import annotations

from textwrap import dedent
from typing import Final

from engine.policy.document import Policy
from engine.policy.errors import PolicyErrors
from engine.policy.source import parse_policy

SECTIONS: Final = {
    "policy": "policy: small",
    "version": "version: 1",
    "currency": "currency: CNY",
    "measures": "measures: [{name: m, event: purchase, kind: count}]",
    "features": "features: [{name: f, kind: days_past_due}]",
    "segments": """\
segments:
  - name: individual
    base_points: 0
    scorecard: [{feature: f, bins: [{points: 0}], missing: 0}]
    bands: [{name: none, limit_minor: 0}]
    limits: {product_cap_minor: 0, legal_cap_minor: 0, round_to_minor: 1}
    cool_down: {up_days: 0, down_days: 0}""",
}


def completed(text: str) -> str:
    """``text`` with the sections of the small policy behind it that it does not have itself, so that its lines keep their numbers."""
    lines = dedent(text).strip("\n").split("\n")
    present = {line.partition(":")[0] for line in lines}
    return "\n".join([*lines, *(section for key, section in SECTIONS.items() if key not in present)]) + "\n"


def policy_of(text: str) -> Policy:
    """The policy that a part of a text makes. Raises PolicyErrors."""
    return parse_policy(completed(text).encode(), "x.yaml")


def mistakes(text: str | bytes) -> list[str]:
    """What is wrong with a whole text, as ``line:column: where: message (hint)``."""
    try:
        parse_policy(text if isinstance(text, bytes) else text.encode(), "x.yaml")
    except PolicyErrors as found:
        return [str(error).removeprefix("x.yaml:") for error in found.errors]
    return []


def mistakes_in_part(text: str) -> list[str]:
    """What is wrong with a part of a text, the rest being the small policy's."""
    return mistakes(completed(text))
