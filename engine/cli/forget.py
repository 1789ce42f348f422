"""``limit-engine account forget``: remove a closed account from the engine's state, through the journal like every other change of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.cli.common import FINDINGS, Application, AsJson, Bootstrap, RedisUrl, emit, messages, settings_from, speaks
from engine.cli.lookup import Held, inspected, left_of, look_up
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.settings import Settings

UNKNOWN: Final = "the engine has accepted no record of this account"
POLL_S: Final = 0.2
LEFT: Final = "the account_id and the sequence of its last change"


def was_forgotten(sequence: int) -> str:
    """What is said of an account of which only this is left."""
    return f"was forgotten; what is left in Redis is {LEFT} ({sequence})"


@speaks
def forget(
    account: Annotated[str, typer.Argument(metavar="ID", help="The account_id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[float, typer.Option(min=1, max=3600, help="How many seconds to wait until it is done.")] = 60,
    kafka: Bootstrap = None,
    redis: RedisUrl = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Remove an account whose line is closed from Redis, for good (exit code 1: it is not known, or its line is open).

    Writes a record without a value to account-profiles and waits until its shard has taken it. docs/evidence.md says what stays.
    """
    settings = settings_from(kafka, redis, application)
    held = asyncio.run(look_up(account.encode(), settings))
    _refuse_unknown(held)
    before = inspected(held, settings)
    if before["standing"]["state"] == "open":
        limit = f"{before['standing']['limit_minor']} {before['standing']['currency']} minor"
        messages.print(
            f"{account}: its line is open (limit {limit}): close it first, by a profile with status closed; then forget it", markup=False
        )
        raise typer.Exit(FINDINGS)
    if not yes:
        messages.print(f"Removes {_told(before)} of {account} from Redis. There is no way back.", markup=False)
        typer.confirm("Forget it?", abort=True, err=True)
    offset = _publish(settings, held)
    left = _sequence_left(settings, held, offset, wait)
    stays = _stays(settings)
    if as_json:
        removed = {"standing": before["standing"]["state"], "events_accepted": before["events_accepted"]}
        emit({"account_id": account, "shard": held.shard, "removed": removed, "sequence": left, "stays": stays})
        return
    typer.echo(f"{account} is forgotten (shard {held.shard}, account-profiles@{offset})")
    typer.echo(f"removed from Redis: {_told(before)}")
    typer.echo(f"kept in Redis: {'nothing' if left is None else f'{LEFT} ({left})'}")
    typer.echo("stays in Kafka until its retention has passed:")
    for topic, kept in stays.items():
        typer.echo(f"  {topic:<18} {kept}")


def _refuse_unknown(held: Held) -> None:
    """End the program for an account of which there is nothing to remove."""
    left = left_of(held)
    if held.value is None or left is not None:
        told = UNKNOWN if left is None else was_forgotten(left)
        messages.print(f"{held.account.decode()}: {told}; there is nothing to remove", markup=False)
        raise typer.Exit(FINDINGS)


def _told(before: dict[str, Any]) -> str:
    """What an inspected account is made of."""
    measures = sum(bool(measure.get("value") or measure.get("tiles")) for measure in before["measures"])
    parts = [
        f"standing {before['standing']['state']}",
        f"what {before['events_accepted']} records left in {measures} measures",
        f"{len(before['instalments'])} instalments",
        "the profile" if before["profile"] else "no profile",
    ]
    return ", ".join(parts)


def _publish(settings: Settings, held: Held) -> int:
    """Write the wish to where the account's shard reads it; its offset."""
    from engine.stream.forgetting import publish_tombstone

    return publish_tombstone(settings.kafka, held.account, held.shard, held.partitions)


def _sequence_left(settings: Settings, held: Held, offset: int, wait_s: float) -> int | None:
    """Wait until the shard has taken the wish; the sequence that is left, None if nothing is. Raises EngineError."""
    from engine.state import keys
    from schemas.topics import PROFILES

    account, place = held.account.decode(), f"{PROFILES.name}-{held.shard}@{offset}"
    deadline = time.monotonic() + wait_s
    while int(held.fields.get(keys.next_offset(PROFILES.name), 0)) <= offset:
        if time.monotonic() > deadline:
            cure = f"is a worker running? `limit-engine doctor`; it is done when a worker takes it: `limit-engine account show {account}`"
            raise EngineError(f"{place} was not taken within {wait_s:g} s", where=f"shard {held.shard}", cure=cure)
        time.sleep(POLL_S)
        held = asyncio.run(look_up(held.account, settings))
    left = left_of(held)
    if held.value is not None and left is None:
        why = f"its line was opened before (then {place} is in dead-letters), or a record of it came after"
        messages.print(f"{account}: {place} was taken, and the account is there: {why}", markup=False)
        raise typer.Exit(FINDINGS)
    return left


def _stays(settings: Settings) -> dict[str, str]:
    """How long the topics keep what they have of any account, in words."""
    from engine.stream import topics
    from schemas.topics import CONTROL

    states = topics.described(settings.kafka)
    return {state.name: state.kept for state in states if state.partitions and state.name != CONTROL.name}
