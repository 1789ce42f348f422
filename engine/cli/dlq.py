"""``limit-engine dlq``: the dead letters with their cause, and their replay, with what became of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer
from rich.table import Table

from engine.cli.common import (
    FINDINGS,
    Application,
    AsJson,
    Bootstrap,
    RedisUrl,
    emit,
    fail,
    messages,
    now_ms,
    opened,
    progress,
    settings_from,
    speaks,
)
from engine.cli.letters import (
    bytes_of,
    filter_of,
    letters_at,
    places_of,
    plain_console,
    plain_of,
    read_letters,
    table_of,
    text_of,
    told_of,
)
from engine.cli.lookup import shards_of
from engine.errors import EngineError
from schemas.common import format_instant
from schemas.dead_letters import Disposition

if TYPE_CHECKING:
    from kafka import KafkaProducer

    from engine.settings import Settings
    from engine.stream.backlog import Backlog, Fate, Filter, Letter, Place
    from engine.stream.copies import Copies
    from engine.stream.corrections import Correction
    from engine.stream.redrive import Outcome, Result

app = typer.Typer(no_args_is_help=True)

POLL_S: Final = 0.5
FINE: Final[tuple[Result, ...]] = ("would_be_sent", "sent", "taken")

Since = Annotated[str | None, typer.Option(metavar="INSTANT", help="Only those written from then on: a date, or an RFC 3339 time.")]
Until = Annotated[str | None, typer.Option(metavar="INSTANT", help="Only those written before.")]
Why = Annotated[str | None, typer.Option("--disposition", metavar="WORD", help=f"Only of this: {', '.join(get_args(Disposition))}.")]
Topic = Annotated[str | None, typer.Option(metavar="TOPIC", help="Only of this input topic.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Only in this partition.")]


@app.command("list")
@speaks
def list_letters(
    since: Since = None,
    until: Until = None,
    disposition: Why = None,
    topic: Topic = None,
    partition: Partition = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those of which nothing has become yet.")] = False,
    kafka: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters and what has become of them, without keys and values; and how many there are of each kind."""
    wanted = filter_of(since, until, disposition, topic, partition)
    backlog = read_letters(settings_from(kafka).kafka, lambda _: False)
    fates = backlog.fates()
    in_order = sorted(backlog.letters.values(), key=lambda letter: (letter.written_ms, letter.place))
    shown = [letter for letter in in_order if wanted.takes(letter) and (fates[letter.place].is_open or not is_open)]
    if as_json:
        for letter in shown:
            emit(plain_of(letter, fates[letter.place]))
        return
    console, table = plain_console(), table_of("place", "written at", "input", "disposition", "became of it", "message")
    for letter in shown:
        cells = (letter.place.short, format_instant(letter.written_ms), str(letter.origin), letter.disposition)
        table.add_row(*cells, told_of(fates[letter.place]), letter.message)
    if shown:
        console.print(table)
        console.print(_summary(shown, fates))
    else:
        messages.print("there is no such dead letter" if backlog.letters else "there is no dead letter")


@app.command()
@speaks
def show(
    places: Annotated[list[str], typer.Argument(metavar="PLACE", help="Where it lies in dead-letters, as 2@17.")],
    kafka: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show everything of a dead letter, its key and its value too, and what to do about it."""
    from engine.stream.copies import cure_of

    wanted = places_of(places)
    backlog = read_letters(settings_from(kafka).kafka, lambda letter: letter.place in wanted)
    fates = backlog.fates()
    for letter in letters_at(backlog, wanted):
        cure = cure_of(letter)
        if as_json:
            whole = {"key": bytes_of(letter.key), "value": bytes_of(letter.value), "headers": [[n, bytes_of(v)] for n, v in letter.headers]}
            emit({**plain_of(letter, fates[letter.place]), **whole, "cure": cure})
            continue
        lines = [
            ("dead letter", letter.place.short),
            ("written at", format_instant(letter.written_ms)),
            ("lay in", str(letter.origin)),
            ("timestamp", format_instant(letter.recorded_ms)),
            ("disposition", letter.disposition),
            ("message", letter.message),
            ("cure", cure),
            ("became of it", told_of(fates[letter.place])),
            *((f"header {name}", text_of(value)) for name, value in letter.headers),
            ("key", text_of(letter.key)),
            ("value", text_of(letter.value)),
        ]
        for name, text in lines:
            typer.echo(f"{name:<13} {text}")


@app.command()
@speaks
def replay(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE", help="Where they lie in dead-letters, as 2@17.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open, or those of them that the filters let through.")] = False,
    since: Since = None,
    until: Until = None,
    disposition: Why = None,
    topic: Topic = None,
    partition: Partition = None,
    corrected: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Corrected values, one a line, each with the event_id or command_id it had.")
    ] = None,
    rekey: Annotated[bool, typer.Option("--rekey", help="Key each by the account_id in its value, whatever key it had.")] = False,
    as_is: Annotated[bool, typer.Option("--as-is", help="Send also what would be refused again.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Send also what was replayed before; by PLACE only.")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="How many seconds to wait until they are taken (0: not at all).")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    kafka: Bootstrap = None,
    redis: RedisUrl = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, each to its key's partition of the topic it came from, and tell what became of each (exit code 1: one was not
    sent, was not taken, or is a dead letter again).

    With --corrected alone those are sent that the file corrects. docs/producers.md says which timestamp they get, and what is refused.
    """
    from engine.stream.corrections import corrections
    from engine.stream.redrive import Orders, planned, resending

    wanted, named = filter_of(since, until, disposition, topic, partition), places_of(places or [])
    _refuse_selection(named, wanted, everything=everything, again=again, has_corrected=corrected is not None)
    given: list[Correction] = []
    mistakes: list[str] = []
    if corrected is not None:
        with opened(corrected) as lines:
            given, mistakes = corrections(lines, "stdin" if str(corrected) == "-" else str(corrected))
    settings = settings_from(kafka, redis, application)
    copies = _copies(settings)
    if wait and not dry_run:
        _refuse_another_deployment(settings, copies)  # nothing is sent that could not be followed
    with nullcontext() if dry_run else resending(settings.kafka) as producer:
        backlog = read_letters(settings.kafka, lambda letter: letter.place in named or (not named and wanted.takes(letter)))
        letters = letters_at(backlog, named) if named else [letter for letter in backlog.letters.values() if wanted.takes(letter)]
        orders = Orders(corrected=not named and not everything, open=everything, rekey=rekey, as_is=as_is, again=again)
        outcomes, unmatched = planned(letters, backlog, copies, given, orders)
        _refuse_mistakes([*mistakes, *unmatched])
        try:
            if producer is not None:
                _send(producer, outcomes, settings, backlog, wait)
        finally:  # whatever has happened: what was sent is told
            _print(outcomes, as_json=as_json)
    if any(outcome.result not in FINE for outcome in outcomes):
        raise typer.Exit(FINDINGS)


# What is replayed


def _refuse_selection(named: Collection[Place], wanted: Filter, *, everything: bool, again: bool, has_corrected: bool) -> None:
    """End the program where it is not clear what is to be replayed."""
    from engine.stream.backlog import Filter

    if named and (everything or wanted != Filter()):
        fail("dead letters are chosen by PLACE, or by --all and filters, not by both")
    if wanted != Filter() and not everything:
        fail("filters narrow --all, which is not given")
    if again and not named:
        fail("--again is for dead letters that are named by PLACE")
    if not named and not everything and not has_corrected:
        cure = "name dead letters by PLACE (`limit-engine dlq list`), or say --all, or give --corrected FILE"
        fail(EngineError("nothing is chosen", cure=cure))


def _copies(settings: Settings) -> Copies:
    """What makes copies under the policy in force. Raises EngineError."""
    from engine.policy.compile import compile_policy
    from engine.stream import control, topics
    from engine.stream.copies import Copies

    states = topics.described(settings.kafka)
    for problem in topics.problems(states):
        raise problem
    policy = control.active_policy(settings.kafka)
    if policy is None:
        raise EngineError("no policy is in force to check records by", where="policy", cure="`limit-engine policy promote FILE`")
    return Copies(compile_policy(policy, settings.key).decode, settings.key, states, now_ms())


def _refuse_another_deployment(settings: Settings, copies: Copies) -> None:
    """Raise EngineError where what was sent could not be followed: Redis does not answer, or was not made from these topics."""
    shards = len(asyncio.run(shards_of(settings)))
    if shards != copies.shards:
        raise EngineError(
            f"the topics have {copies.shards} partitions, and the state in Redis was made with {shards}",
            where="topics",
            cure="do --kafka and --redis belong to one deployment? `limit-engine doctor` looks",
        )


def _refuse_mistakes(mistakes: Sequence[str]) -> None:
    """Tell the mistakes in corrected values, all of them, and end the program if there is one."""
    for mistake in mistakes:
        messages.print(mistake, markup=False)
    if mistakes:
        fail(f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'} in the corrected values: nothing was sent")


def _send(producer: KafkaProducer, outcomes: Sequence[Outcome], settings: Settings, backlog: Backlog, wait_s: float) -> None:
    """Send what is to be sent, and wait until the engine has taken it; the outcomes say how far it has come."""
    from engine.stream.redrive import send

    to_send = [outcome for outcome in outcomes if outcome.copy is not None]
    for outcome in to_send:
        outcome.result = "not_sent"
    with progress("sending") as moved:
        count = 0
        for some in send(producer, to_send):
            count += len(some)
            moved(count, len(to_send))
    if wait_s and to_send:
        _follow({outcome.lies: outcome for outcome in to_send if outcome.lies is not None}, settings, backlog.ends, wait_s)


def _follow(sent: Mapping[Place, Outcome], settings: Settings, first: Mapping[int, int], wait_s: float) -> None:
    """Wait until the shards have taken what was sent, and see what has become a dead letter again, from these offsets of dead-letters on."""
    from engine.state import keys
    from engine.stream.backlog import died_again

    deadline = time.monotonic() + wait_s
    for outcome in sent.values():
        outcome.result = "not_taken_yet"
    with progress("waiting until they are taken") as moved:
        while True:
            shards = asyncio.run(shards_of(settings))
            for place, outcome in sent.items():
                if int(shards[place.partition].get(keys.next_offset(place.topic), 0)) > place.offset:
                    outcome.result = "taken"
            taken = sum(outcome.result == "taken" for outcome in sent.values())
            moved(taken, len(sent))
            if taken == len(sent) or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
    if taken < len(sent):
        messages.print(f"[red]problem[/] {len(sent) - taken} of {len(sent)} were not taken within {wait_s:g} s")
        messages.print("  [green]cure[/] is a worker running? `limit-engine doctor`; they are taken when their shards go on")
    for place, letter in died_again(settings.kafka, sent, first):
        sent[place].result, sent[place].died = "dead_again", letter
        sent[place].why = f"{letter.disposition}: {letter.message}"


# What is shown


def _print(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    """Tell each outcome, and how many there are of each."""
    if as_json:
        for outcome in outcomes:
            emit(_outcome(outcome))
    elif outcomes:
        table = table_of("place", "input", "sent to", "result", "why")
        for outcome in outcomes:
            word = outcome.result.replace("_", " ") + (f": {outcome.died.place.short}" if outcome.died is not None else "")
            word += ", corrected" if outcome.copy is not None and outcome.copy.is_corrected else ""
            table.add_row(outcome.letter.place.short, str(outcome.letter.origin), _target(outcome) or "-", word, outcome.why)
        plain_console().print(table)
    counts = Counter(outcome.result.replace("_", " ") for outcome in outcomes)
    messages.print(", ".join(f"{count} {word}" for word, count in counts.items()) or "there is nothing to replay")


def _outcome(outcome: Outcome) -> dict[str, Any]:
    told = {
        "place": outcome.letter.place.short,
        "input": str(outcome.letter.origin),
        "result": outcome.result,
        "corrected": outcome.copy is not None and outcome.copy.is_corrected,
        "sent_to": _target(outcome),
        "timestamp_ms": None if outcome.copy is None else outcome.copy.timestamp_ms,
        "dead_letter": None if outcome.died is None else outcome.died.place.short,
        "why": outcome.why or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _target(outcome: Outcome) -> str | None:
    """Where a copy lies, or the partition that it goes to."""
    if outcome.lies is not None:
        return str(outcome.lies)
    return None if outcome.copy is None else f"{outcome.letter.origin.topic}-{outcome.copy.partition}"


def _summary(letters: Sequence[Letter], fates: Mapping[Place, Fate]) -> Table:
    """How many there are, and how many of them are open, by input topic and disposition."""
    kinds = Counter((letter.origin.topic, letter.disposition) for letter in letters)
    open_ones = Counter((letter.origin.topic, letter.disposition) for letter in letters if fates[letter.place].is_open)
    table = table_of("topic", "disposition", "dead letters", "open")
    for kind, count in sorted(kinds.items()):
        table.add_row(*kind, str(count), str(open_ones[kind]))
    return table
