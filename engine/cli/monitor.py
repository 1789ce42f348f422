"""``limit-engine policy monitor``: drift of the score and the features between two periods, and outcomes by group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import FINDINGS, AsJson, Bootstrap, emit, fail, instant_ms, messages, now_ms, progress, settings_from, speaks
from engine.errors import EngineError
from engine.monitor.fairness import GROUP_MIN, HEADER, GroupRates, Groups, GroupsError, parse_groups, reference_of
from engine.monitor.report import Collected, Period, PeriodName, Report, fairness_of, reported
from engine.monitor.stability import CHANGES_MIN, LIMIT

if TYPE_CHECKING:
    from engine.settings import Kafka
    from schemas.topics import TopicSpec

LINES_TOLD_MAX: Final = 10
MISTAKES_TOLD_MAX: Final = 20
WORDS: Final = {"stable": "stable", "moved": "moved", "above_limit": "ABOVE LIMIT", "not_judged": "not judged"}


@speaks
def monitor(
    since: Annotated[
        str, typer.Option(metavar="INSTANT", help="Where the period in question begins: a date (midnight UTC), or an RFC 3339 time.")
    ],
    against: Annotated[str, typer.Option(metavar="FROM..TO", help="The period to compare with, TO not included.")],
    until: Annotated[str | None, typer.Option(metavar="INSTANT", help="Where the period in question ends (by default now).")] = None,
    limit: Annotated[float, typer.Option(min=0.0, help="The stability index above which somebody should look (exit code 1).")] = LIMIT,
    min_changes: Annotated[int, typer.Option(min=1, help="Below so many evaluations in a period nothing is judged.")] = CHANGES_MIN,
    groups: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"CSV with the header {','.join(HEADER)}: outcomes by group, too.")
    ] = None,
    reference: Annotated[str | None, typer.Option(metavar="GROUP", help="The group to compare with (by default the largest).")] = None,
    min_group: Annotated[int, typer.Option(min=1, help="Groups of fewer accounts are not judged.")] = GROUP_MIN,
    kafka: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Compare the score, the features and the outcomes by group of two periods (exit code 1: an index above the limit, a ratio marked, or nothing
    to judge by). docs/monitoring.md says what the numbers mean."""
    periods = _periods(since, until, against, now_ms())
    if reference is not None and groups is None:
        fail("--reference names a group of --groups FILE, which is not given")
    held = None if groups is None else _groups(groups)
    compared_with = None if held is None else _reference(held, reference, groups)
    cluster = settings_from(kafka).kafka
    collected: dict[PeriodName, Collected] = {name: Collected(keeps_outcomes=held is not None) for name in periods}
    _collect(cluster, periods, collected, with_advisories=held is not None)
    fairness = None
    if held is not None and compared_with is not None:
        fairness = fairness_of(held, collected["actual"].outcomes, compared_with, min_group)
    report = reported(periods, collected, limit, min_changes, fairness)
    if as_json:
        emit(report.plain())
    else:
        _print(report)
    _tell(report, groups)
    if report.has_findings:
        raise typer.Exit(FINDINGS)


def _periods(since: str, until: str | None, against: str, now: int) -> dict[PeriodName, Period]:
    """The two periods; a mistake in them ends the program."""
    begins, is_range, ends = against.partition("..")
    if not is_range:
        fail(EngineError(f"--against {against!r} is no period", cure="give it as FROM..TO, such as 2026-07-01..2026-10-01"))
    reference = Period(instant_ms("--against", begins), instant_ms("--against", ends))
    actual = Period(instant_ms("--since", since), now if until is None else instant_ms("--until", until))
    for option, period in (("--against", reference), ("--since" if until is None else "--until", actual)):
        if period.from_ms >= period.to_ms:
            fail(f"{option}: the period {period} ends before it has begun")
    if reference.overlaps(actual):
        fail(f"the periods overlap: {reference} (--against) and {actual} (--since)")
    return {"reference": reference, "actual": actual}


def _groups(file: Path) -> Groups:
    """The groups of a file; its mistakes end the program."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return parse_groups(lines)
    except UnicodeDecodeError as error:
        fail(EngineError(f"is not UTF-8 ({error.reason})", where=str(file), cure=f"save it as UTF-8, with the header {','.join(HEADER)}"))
    except GroupsError as found:
        for line, what in found.mistakes[:MISTAKES_TOLD_MAX]:
            messages.print(f"{file}:{line}: {what}" if line else f"{file}: {what}", markup=False)
        left = len(found.mistakes) - MISTAKES_TOLD_MAX
        told = f"; {left} more are not shown" if left > 0 else ""
        fail(f"{file} has {len(found.mistakes)} mistake{'' if len(found.mistakes) == 1 else 's'}{told}")


def _reference(groups: Groups, named: str | None, file: Path | None) -> str:
    try:
        return reference_of(groups, named)
    except ValueError as error:
        fail(EngineError(f"--reference {error}", where=str(file)))


def _collect(kafka: Kafka, periods: dict[PeriodName, Period], collected: dict[PeriodName, Collected], *, with_advisories: bool) -> None:
    """Read the topics; a record that is not as the contract has it ends the program."""
    from schemas.topics import ADVISORIES, CHANGES

    _read(kafka, CHANGES, periods, collected)
    if with_advisories:
        _read(kafka, ADVISORIES, {"actual": periods["actual"]}, collected)


def _read(kafka: Kafka, topic: TopicSpec, periods: dict[PeriodName, Period], collected: dict[PeriodName, Collected]) -> None:
    from pydantic_core import from_json

    from engine.monitor.announced import announced
    from engine.stream.announcements import read_windows
    from schemas.topics import CHANGES

    count = 0
    with progress(topic.name) as moved:
        for at_ms, place, value in read_windows(kafka, topic.name, [*periods.values()], moved):
            try:
                record = announced(from_json(value))
            except ValueError as error:
                fail(EngineError(str(error), where=place, cure=f"who else writes to {topic.name}? Only the engine may"))
            (name,) = (name for name, period in periods.items() if at_ms in period)
            (collected[name].add_change if topic is CHANGES else collected[name].add_advisory)(record)
            count += 1
    messages.print(f"{topic.name}: {count} records read")


def _print(report: Report) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for name, period in report.periods.items():
        held = report.collected[name]
        evaluations = sum(sample.count for sample in held.samples.values())
        told = ", ".join(f"{policy} {version}" for policy, version, _ in sorted(held.versions)) or "none"
        console.print(f"{name:<9} {period}: {held.changes} changes, {evaluations} evaluations, policy {told}")
    for segment in sorted({one.segment for one in report.stabilities}):
        console.print(_stability(report, segment))
    for group in report.fairness.groups if report.fairness is not None else ():
        console.print(_outcomes(group))


def _table(title: str, *columns: str) -> Table:
    """A table of a word, numbers and a remark; a word is never cut."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if 0 < place < len(columns) - 1 else "left", overflow="fold")
    return table


def _stability(report: Report, segment: str) -> Table:
    table = _table(f"Stability of {segment} (limit {report.limit:g})", segment, "reference", "actual", "PSI", "by chance", "")
    for one in report.stabilities:
        if one.segment == segment:
            numbers = ("-", "-") if one.psi is None or one.by_chance is None else (f"{one.psi:.3f}", f"{one.by_chance:.3f}")
            table.add_row(one.feature or "score", str(one.reference), str(one.actual), *numbers, WORDS[one.status])
    return table


def _outcomes(group: GroupRates) -> Table:
    """A group's rates in the actual period; of one that is too small only its size."""
    table = _table(f"Group {group.group}: {group.accounts} accounts", "outcome", "records", "accounts", "rate", "ratio", "")
    if group.rates is None:
        table.add_row("-", "-", "-", "-", "-", "too small")
    for rate in group.rates or ():
        ratio = "-" if rate.ratio is None else f"{rate.ratio:.3f}"
        mark = "ABOVE 5/4" if rate.ratio is not None and rate.ratio > 1 else "BELOW 4/5"
        remark = group.role if group.role == "reference" else mark if rate.marked else ""
        table.add_row(rate.outcome, str(rate.count), str(rate.accounts), f"{rate.rate:.4f}", ratio, remark)
    return table


def _tell(report: Report, file: Path | None) -> None:
    """What is found, and what a reader of the numbers must know, on stderr."""
    for name, period in report.periods.items():
        if not report.collected[name].changes:
            messages.print(f"limit-changes has nothing of the {name} period ({period})", markup=False)
    for one in report.stabilities:
        if one.psi is None and one.feature is None:
            messages.print(f"{one.segment}: not judged: {one.why} ({one.reference} and {one.actual})", markup=False)
        if one.left_out:
            told = f"{one.segment}: bounds of {one.feature} that the versions of the policy do not share are left out: "
            messages.print(told + ", ".join(map(str, one.left_out)), markup=False)
    if len({hash_ for held in report.collected.values() for _, _, hash_ in held.versions}) > 1:
        messages.print("more than one version of the policy decided: what a version redefined looks like drift", markup=False)
    fairness = report.fairness
    if fairness is not None:
        lines = fairness.lines_not_seen
        if lines:
            told = ", ".join(map(str, lines[:LINES_TOLD_MAX])) + (", ..." if len(lines) > LINES_TOLD_MAX else "")
            counted = "unknown here, or nothing happened to them; they count as accounts without an outcome"
            where = f"line{'' if len(lines) == 1 else 's'} {told}"
            messages.print(f"{file}: nothing was announced of {len(lines)} of its accounts ({where}): {counted}", markup=False)
        if fairness.accounts_without_group:
            messages.print(f"{fairness.accounts_without_group} accounts with records are in no group of {file}", markup=False)
        if fairness.groups[0].rates is None:
            messages.print(f"the reference group {fairness.groups[0].group!r} is too small: no ratio is told", markup=False)
    for one in report.above:
        messages.print("[red]problem[/] ", end="")
        messages.print(f"{one.segment}: the index of {one.feature or 'the score'} is {one.psi:.3f}, above {report.limit:g}", markup=False)
    for group, outcome in report.marked:
        messages.print("[red]problem[/] ", end="")
        messages.print(f"group {group}: the ratio of {outcome} lies outside of four fifths (a screen, not a finding of law)", markup=False)
    if report.is_nothing_judged:
        messages.print("[red]problem[/] there is no index: too few evaluations in one of the periods")
        messages.print("  [green]cure[/] take longer periods, or say with --min-changes how few are enough")
