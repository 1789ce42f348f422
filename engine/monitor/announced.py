"""What the monitor takes of a limit change or an advisory: nothing else of a record is kept, and nothing of it twice.

An evaluation may lead to several changes, which then share one trace; ``Evaluation.identity`` is what they have in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

Outcome = Literal["grants", "increases", "offers", "decreases", "increase_withheld"]
_OUTCOMES: Final[Mapping[str, Outcome]] = {
    "grant": "grants",
    "increase": "increases",
    "offer": "offers",
    "decrease": "decreases",
    "increase_withheld": "increase_withheld",
}


class Row(NamedTuple):
    """A characteristic as a trace has it: ``value`` None is missing, ``at_least`` None the first bin (or missing)."""

    feature: str
    value: int | None
    at_least: int | None


class Evaluation(NamedTuple):
    """A scored evaluation; ``version`` is the hash of the policy that it was made by."""

    identity: int
    segment: str
    score: int
    rows: tuple[Row, ...]
    version: str


class Announced(NamedTuple):
    """A record: whose, what became of it for them (None: none of the outcomes that are counted), and how it was scored (None: it was not)."""

    account: str
    outcome: Outcome | None
    evaluation: Evaluation | None
    policy: tuple[str, int, str]


def announced(value: Mapping[str, Any]) -> Announced:
    """Read the value of a limit change or of an advisory. Raises ValueError for what is neither."""
    try:
        policy, trace = value["policy"], value.get("trace") if "standing" in value else None
        return Announced(
            value["account_id"],
            outcome_of(value),
            # An account that its profile's status closes is not judged: what stands in the trace then is no score.
            None if trace is None or trace["guard"] == "closed" else _evaluation(value, trace),
            (policy["name"], policy["version"], policy["hash"]),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not as the contract has it: {error!r}") from None


def outcome_of(value: Mapping[str, Any]) -> Outcome | None:
    """What a change or an advisory is for the account. An accepted offer is an increase, or a grant where there was no line before."""
    if value["kind"] == "offer_accepted":
        return "increases" if value["previous"]["state"] == "open" else "grants"
    return _OUTCOMES.get(value["kind"])


def _evaluation(value: Mapping[str, Any], trace: Mapping[str, Any]) -> Evaluation:
    cause = value["cause"]
    same = (value["account_id"], *(str(cause.get(name)) for name in ("kind", "topic", "partition", "offset", "id", "at")))
    identity = int.from_bytes(hashlib.blake2b("\0".join(same).encode(), digest_size=8).digest(), "big")
    rows = tuple(Row(row["feature"], row["value"], row["bin_at_least"]) for row in trace["features"])
    return Evaluation(identity, trace["segment"], trace["score"], rows, value["policy"]["hash"])
