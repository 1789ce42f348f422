"""Who may do what in Kafka: the rights of each role on the deployment's topics, consumer groups and transactional ids.

They are all that a role needs and no more; ``limit-engine topics acls`` prints them, docs/security.md has them as a table. As Kafka has it, Read,
Write and Alter bring Describe along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from schemas.topics import ADVISORIES, CHANGES, COMMANDS, CONTROL, DEAD_LETTERS, INPUTS, JOURNAL, OUTPUTS, TOPICS, TopicSpec

Role = Literal["engine", "producer", "consumer", "operator", "administrator"]
Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Create", "DescribeConfigs", "Alter", "AlterConfigs"]

FACTS: Final = tuple(spec for spec in INPUTS if spec not in (COMMANDS, CONTROL))  # what happened, told by whoever saw it
CONTROL_ID: Final = "limit-engine-control"
REPLAY_ID: Final = "limit-engine-dlq"


@dataclass(frozen=True, slots=True)
class Right:
    """What may be done to a resource, or to all whose names begin with ``name`` (``is_prefix``)."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    is_prefix: bool = False


def rights_of(role: Role, application: str) -> list[Right]:
    """The rights of a role in the deployment of that name."""
    if role == "engine":
        return [
            *_topics(INPUTS, "Read", "DescribeConfigs"),
            *_topics((*OUTPUTS, JOURNAL), "Read", "Write", "DescribeConfigs"),
            Right("group", application, ("Read",)),
            Right("transactional-id", f"{application}-", ("Write",), is_prefix=True),
        ]
    if role == "producer":
        return _topics(FACTS, "Write")
    if role == "consumer":
        return [*_topics((CHANGES, ADVISORIES), "Read"), Right("group", f"{application}-", ("Read",), is_prefix=True)]
    if role == "operator":
        written = (*INPUTS, DEAD_LETTERS)
        return [
            *_topics(written, "Read", "Write", "DescribeConfigs"),
            *_topics((spec for spec in TOPICS if spec not in written), "Read", "DescribeConfigs"),
            *(Right("transactional-id", name, ("Write",)) for name in (CONTROL_ID, REPLAY_ID)),
        ]
    return _topics(TOPICS, "Create", "Alter", "DescribeConfigs", "AlterConfigs")


def _topics(specs: Iterable[TopicSpec], *operations: Operation) -> list[Right]:
    return [Right("topic", spec.name, operations) for spec in specs]
