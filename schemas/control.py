"""Topic ``limit-control``: what is in force for all accounts. One copy goes to each partition, all in one transaction."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.common import Identifier, Input, Instant, PolicyHash, Text


class _Control(Input):
    control_id: Identifier
    issued_at: Instant
    issued_by: Identifier
    approved_by: Identifier | None = None


class Activate(_Control):
    """This policy, whole, is in force from here on. ``policy_hash`` is the SHA-256 of its canonical bytes."""

    kind: Literal["activate"]
    policy: dict[str, Any]
    policy_hash: PolicyHash


class Appetite(_Control):
    """The risk appetite of a segment from here on, decided by two people, and how many decreases are expected of it."""

    kind: Literal["appetite"]
    approved_by: Identifier
    segment: Literal["individual", "enterprise"]
    mode: Literal["expansion", "neutral", "contraction"]
    expected_decreases: Annotated[int, Field(ge=0)]
    reason: Text

    @model_validator(mode="after")
    def _two_people(self) -> Self:
        if self.approved_by == self.issued_by:
            raise ValueError("approved_by is issued_by: a second person must approve an appetite")
        return self


class ReleaseBreaker(_Control):
    """The breaker against mass decreases lets go."""

    kind: Literal["release_breaker"]
    segment: Literal["individual", "enterprise"] | None = None
    reason: Text


Control = Annotated[Activate | Appetite | ReleaseBreaker, Field(discriminator="kind")]
