"""Whether the topics keep what a decision is shown by for as long as the policy in force asks (``evidence_months``).

Evidence are ``limit-changes`` (the change, with its score, its reasons and the rules that acted), ``limit-advisories`` (the answers: also
what was refused is a decision), ``limit-commands`` (who asked for it, who approved, and why) and ``limit-control`` (the policies, which
changes name by hash). ``dead-letters`` are not: a record there took part in no decision, and may hold anything at all; they are kept for
mending.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import EngineError
from engine.policy.document import Policy
from engine.stream.topics import DAY_MS, TopicState
from schemas.topics import EVIDENCE, EVIDENCE_MONTHS, FOREVER, evidence_ms


@dataclass(frozen=True, slots=True)
class Demand:
    """For how many months evidence is to be kept, and who asks for it, in words."""

    months: int
    by: str

    @property
    def retention_ms(self) -> int:
        """The least ``retention.ms`` that meets it."""
        return evidence_ms(self.months)

    def __str__(self) -> str:
        return f"{self.by} asks for {self.months} months of evidence, {self.retention_ms // DAY_MS} days"


def demand_of(policies: Iterable[Policy]) -> Demand:
    """The longest that policies in force ask for; without any, what a policy asks for that does not say."""
    asked = [Demand(policy.evidence_months, f"policy {policy.policy} version {policy.version}") for policy in policies]
    return max(asked, key=lambda demand: demand.months, default=Demand(EVIDENCE_MONTHS, "a policy that does not say otherwise"))


def evidence_problems(states: Iterable[TopicState], demand: Demand, bootstrap: str) -> list[EngineError]:
    """What would make evidence disappear too early: each with the setting as it is, as it should be, and the command that mends it. Topics
    that are not there have no problem of this kind."""
    names = {spec.name for spec in EVIDENCE}
    found = []
    for state in states:
        if state.name in names and state.partitions:
            wrong = _wrong_settings(state, demand)
            if wrong:
                told = "; ".join(what for what, _ in wrong)
                found.append(EngineError(f"{state.name} {told}: {demand}", where="topics", cure=_cure(state, wrong, bootstrap)))
    return found


def _wrong_settings(state: TopicState, demand: Demand) -> list[tuple[str, str]]:
    """What a topic does too early, and the setting that it should have instead."""
    wrong = []
    cleanup = state.configs.get("cleanup.policy", "delete")
    if "compact" in cleanup:
        wrong.append((f"keeps only the newest record of each key (cleanup.policy={cleanup})", "cleanup.policy=delete"))
    kept_ms = int(state.configs.get("retention.ms", FOREVER))
    if kept_ms != FOREVER and kept_ms < demand.retention_ms:
        wrong.append((f"keeps records {kept_ms / DAY_MS:g} days (retention.ms={kept_ms})", f"retention.ms={demand.retention_ms}"))
    kept_bytes = int(state.configs.get("retention.bytes", FOREVER))
    if kept_bytes != FOREVER:
        wrong.append((f"drops the oldest records above {kept_bytes} bytes (retention.bytes={kept_bytes})", f"retention.bytes={FOREVER}"))
    return wrong


def _cure(state: TopicState, wrong: list[tuple[str, str]], bootstrap: str) -> str:
    settings = ",".join(setting for _, setting in wrong)
    return (
        f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {state.name} --add-config {settings}"
        " (what is gone already does not come back)"
    )
