"""The judge: what the contract (``schemas``, pydantic) says of a record's value. It has the only say in what is wrong, and why."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from engine.core.layout import Topic
from engine.stream.decode.envelope import BARE, Envelope, structured_problem
from schemas.cloudevents import Structured
from schemas.common import VALUE_BYTES_MAX
from schemas.dead_letters import Disposition
from schemas.topics import CONTROL, INPUTS

PROBLEMS_TOLD: Final = 3
CONTRACTS: Final = {Topic(rank): TypeAdapter[Any](topic.model) for rank, topic in enumerate(INPUTS)}


class Refusal(Exception):
    """Why a record is not taken. The message names fields, never an account."""

    def __init__(self, disposition: Disposition, message: str) -> None:
        super().__init__(f"{disposition}: {message}")
        self.disposition = disposition
        self.message = message


class _RepeatedField(ValueError):
    pass


def judge(topic: Topic, value: bytes | None, envelope: Envelope = BARE) -> tuple[Any, Envelope]:
    """The record as its contract's model, and the envelope (completed from a structured one). Raises Refusal."""
    if value is None:
        raise Refusal("invalid", "the record has no value (a tombstone)")
    largest = CONTROL.bytes_max if topic is Topic.CONTROL else VALUE_BYTES_MAX  # a control record carries a whole policy
    if len(value) > largest:
        raise Refusal("too_large", f"the value has {len(value)} bytes, at most {largest} are taken")
    try:
        if envelope.structured:
            whole = Structured.model_validate_json(value)
            envelope = Envelope(whole.id.encode(), whole.source, structured=True)
            model = CONTRACTS[topic].validate_json(json.dumps(whole.data))
        else:
            model = CONTRACTS[topic].validate_json(value)
        json.loads(value, object_pairs_hook=_without_repetition)
    except ValidationError as error:
        raise _refusal(error) from None
    except _RepeatedField as error:
        raise Refusal("invalid", f"field {error} comes twice") from None
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid", f"the value cannot be read: {type(error).__name__}") from None
    if envelope.id and envelope.id != record_id(topic, model).encode():
        raise Refusal("invalid", "ce_id is not the record's own id")
    return model, envelope


def record_id(topic: Topic, model: Any) -> str:
    """The id that makes a record known again."""
    return str(getattr(model, {Topic.COMMAND: "command_id", Topic.CONTROL: "control_id"}.get(topic, "event_id")))


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedField(next(name for name in names if names.count(name) > 1)[:64])
    return found


def _refusal(error: ValidationError) -> Refusal:
    if error.title == Structured.__name__:
        return Refusal("invalid", structured_problem(error))
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    kinds = {problem["type"] for problem in problems}
    if "json_invalid" in kinds:
        return Refusal("not_json", problems[0]["msg"])
    told = "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in problems[:PROBLEMS_TOLD])
    more = f"; and {len(problems) - PROBLEMS_TOLD} more" if len(problems) > PROBLEMS_TOLD else ""
    return Refusal("unknown_field" if kinds == {"extra_forbidden"} else "invalid", told + more)
