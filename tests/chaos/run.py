"""One run: traffic, faults, the end of both, and the audit."""

from __future__ import annotations

import math
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from engine.local.process import ServerProcess
from engine.local.redis_server import RedisServer
from engine.policy.source import load_policy
from engine.stream.warm_up import warm_up
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from tests.chaos.faults import Done, Faults
from tests.chaos.ground import Ground, grounded
from tests.chaos.plan import SLOTS, WORKERS, plan
from tests.chaos.report import Report
from tests.chaos.screen import Show, Tell
from tests.chaos.watch import Watch, met, stops
from tests.e2e.books import audit_books
from tests.e2e.deployment import ROOT
from tests.e2e.second import compared, follow_once

POLICY: Final = ROOT / "scripts" / "benchmark" / "simple.yaml"
LOOK_EVERY_S: Final = 0.2
COPY_EVERY_S: Final = 20.0
RECORDS_A_DAY: Final = 1.8  # of a synthetic customer's
SESSION_S: Final = 6.0
QUIET_S: Final = 3.0
END_WITHIN_S: Final = 240.0
FOLLOW_WITHIN_S: Final = 600.0


@dataclass(frozen=True)
class Options:
    """What to run. ``rate`` is records a second, ``every_s`` the mean time between faults; ``clock`` as in the settings."""

    seed: int
    seconds: float
    directory: Path
    accounts: int = 10_000
    rate: float = 300.0
    every_s: float = 5.5
    partitions: int = 12
    policy: Path = POLICY
    clock: str = "records"

    def days(self) -> int:
        """How long the customers' lives must be for the traffic not to end."""
        return 3 + math.ceil(1.5 * self.rate * (self.seconds + 60) / (RECORDS_A_DAY * self.accounts))


def run(options: Options, tell: Tell, show: Show) -> Report:
    """Run, and audit. ``tell`` hears what happens, ``show`` what is done and how much of how much of it."""
    report = Report(options.seed, options.seconds, options.directory)
    tell("the decision kernel is compiled, or read from its cache")
    warm_up()  # else each worker would compile it for itself
    with grounded(options.directory, options.partitions, SLOTS) as ground:
        ground.settings = {
            "LIMITS_KAFKA__SESSION_TIMEOUT_S": f"{SESSION_S:g}",
            "LIMITS_CLOCK": options.clock,
            "LIMITS_SHARD__BATCH_RECORDS": "500",
            "LIMITS_SHARD__CACHE_ACCOUNTS": "200",
        }
        traffic = started(ground, options)
        watch = Watch(ground.kafka.address, options.partitions)
        began = time.monotonic()
        done = storm(ground, options, traffic, tell, show, report)
        calmed = time.monotonic()
        report.violations += calm(ground, traffic, watch, tell)
        watch.stop()
        report.seconds = calmed - began
        report.faults = Counter(one.fault.kind for one in done for _ in range(one.times))
        report.stops = stops(watch, done, began)
        gap = watch.longest_gap(calmed)
        report.longest_stop_s, report.longest_stop_met = gap[1] - gap[0], met(gap, done)
        report.given_up = ground.given_up
        report.violations += complaints(ground)
        tell("auditing")
        shards = options.partitions
        report.counts, found = audit_books(
            ground.kafka.address, ground.redis.url, ground.application, shards, lambda checked: show("auditing", checked, shards)
        )
        report.violations += found
        tell("following")
        report.followed, found = follow(ground)
        report.violations += found
        if report.followed != report.counts["commits"]:
            report.violations.append(f"a second Redis applied {report.followed} of {report.counts['commits']} commits")
    return report


def started(ground: Ground, options: Options) -> ServerProcess:
    """Workers at work on traffic that has begun; the traffic."""
    days = options.days()
    start_ms = midnight_before(datetime.now(UTC), days + LATE_DAYS)
    at_work(ground, options.policy, start_ms, WORKERS)
    given = {
        "--kafka": ground.kafka.address,
        "--accounts": options.accounts,
        "--days": days,
        "--rate": options.rate,
        "--start-ms": start_ms,
        "--seed": options.seed,
    }
    traffic = ground.run("-m", "scripts.traffic", *words(given), log="traffic.log")
    flowing = 20 * options.partitions
    ground.wait(lambda: ground.taken() >= flowing or not traffic.is_running(), "the traffic flows", 300)
    return traffic


def at_work(ground: Ground, policy: Path, from_ms: int, workers: int) -> None:
    """Put a policy in force, and start workers that take it."""
    ground.promote(load_policy(policy, datetime.now(UTC)), from_ms)
    for slot in ground.slots[:workers]:
        ground.begin(slot)
    ground.wait(lambda: ground.taken() >= ground.partitions, "the policy is in force everywhere", 300)


def words(given: Mapping[str, object]) -> Iterator[str]:
    """Options as a command line."""
    return (str(word) for pair in given.items() if pair[1] is not None for word in pair)


def storm(ground: Ground, options: Options, traffic: ServerProcess, tell: Tell, show: Show, report: Report) -> list[Done]:
    """Let the faults of the seed happen when their time comes, and take them all back; what happened."""
    began = time.monotonic()
    faults = Faults(ground, options.seed, lambda what: tell(f"{time.monotonic() - began:7.1f} s  {what}"))
    to_come = plan(options.seed, options.seconds, options.every_s)
    copied_at = -COPY_EVERY_S
    while (now := time.monotonic() - began) < options.seconds:
        if now - copied_at >= COPY_EVERY_S:
            copied_at = now
            faults.copy_store()
        while to_come and to_come[0].at_s <= now:
            faults.begin(to_come.pop(0))
        if faults.failed:
            break
        ground.look_after()
        show("faults", now, options.seconds)
        if not traffic.is_running():
            report.violations.append(f"the traffic ended before its time: {(ground.directory / 'traffic.log').read_text()[-500:]}")
            break
        time.sleep(LOOK_EVERY_S)
    faults.end()
    report.violations += [f"a fault could not be made or taken back: {error!r}" for error in faults.failed]
    return faults.done


def calm(ground: Ground, traffic: ServerProcess, watch: Watch, tell: Tell) -> list[str]:
    """The usual workers, no more traffic; wait until everything is taken, and end the workers. What was wrong."""
    tell("every fault is taken back; the traffic ends")
    for slot in ground.slots:
        if slot.is_wanted and slot.number >= WORKERS:
            ground.leave(slot)
        elif not slot.is_wanted and slot.number < WORKERS:
            ground.begin(slot)
    traffic.stop(120)
    found = []
    told = (ground.directory / "traffic.log").read_text()
    if '"records"' not in told:
        found.append(f"the traffic did not end well: {told[-500:]}")
    tell("waiting until everything is taken")
    if not quiet(ground, watch):
        found.append(f"not everything was taken within {END_WITHIN_S:.0f} s: {list(standing(ground))}")
    for slot in ground.slots:
        ground.leave(slot)
    return found


def quiet(ground: Ground, watch: Watch) -> bool:
    """Wait until everything is taken and nothing is committed any more; False if that does not come."""
    deadline = time.monotonic() + END_WITHIN_S
    before, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        ground.look_after()
        if watch.count() != before:
            before, since = watch.count(), time.monotonic()
        if time.monotonic() - since > QUIET_S and ground.is_all_taken():
            return True
        time.sleep(LOOK_EVERY_S)
    return False


def follow(ground: Ground) -> tuple[int, list[str]]:
    """Let a second Redis follow the journal to its end; how many records it has applied, and of which shards it is not what the workers' is."""
    second = RedisServer(ground.directory / "second")
    try:
        second.start()
        applied = sum(shard["applied"] for shard in follow_once(ground, second, FOLLOW_WITHIN_S))
        _, shards = compared(ground, second, FOLLOW_WITHIN_S)
        found = [
            f"a second Redis that followed is {row['against']['result']}: {row}" for row in shards if row["against"]["result"] != "same"
        ]
        return applied, found
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return 0, [f"a second Redis did not follow: {error}"]
    finally:
        second.stop()


def standing(ground: Ground) -> Iterator[str]:
    """What each worker said last of its shards."""
    for slot in ground.slots[:WORKERS]:
        yield f"worker {slot.number}: {ground.log_of(slot.number)[-800:]}"


def complaints(ground: Ground) -> list[str]:
    """What no worker may say, whatever happens to it: that a shard stopped for good, or an error that nobody has foreseen."""
    return [
        f"worker {line['worker']} said: {str(line)[:800]}"
        for line in ground.said()
        if line["event"] in ("stopped", "failed") or "Traceback" in str(line.get("event"))
    ]
