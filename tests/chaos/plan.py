"""Which faults happen when: drawn from a seed, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

WORKERS: Final = 3  # at work unless a fault says otherwise
SLOTS: Final = 5  # as many as there ever are
BROKER_BACK_S: Final = 10.0  # a JVM's start, on a busy machine
WORKER_BACK_S: Final = 4.0
STORE_BACK_S: Final = 2.0
FIRST_AT_S: Final = 5.0
ALONE_FROM_S: Final = 480.0  # shorter runs do not begin with a fault of each kind by itself
HOUR_S: Final = 3_600.0

CUTS: Final = ("Produce", "AddPartitionsToTxn", "EndTxn", "EndTxn", "Fetch", "Heartbeat", "apply", "apply", "load")
KINDS: Final = {  # with their weights
    "worker killed": 3.0,
    "worker stopped": 3.0,
    "Redis killed": 2.0,
    "Redis older": 2.0,
    "Kafka killed": 1.2,
    "cut off from Kafka": 2.5,
    "cut off from Redis": 2.5,
    "replies cut": 5.0,
    "clock set": 2.5,
    "worker leaves": 1.5,
    "worker joins": 1.5,
}
TIDE: Final = ((-1,) * 2, (1,) * 4, (-1,) * 4, (1,) * 2)  # three workers, one, five, one, three
TIDE_EVERY_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Begins so many seconds after the run's beginning, and is taken back after ``for_s``. ``worker`` is whom it befalls, ``detail`` what is
    particular to its kind: directions, a request, a clock's seconds."""

    at_s: float
    kind: str
    for_s: float
    worker: int | None = None
    detail: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        whom = "" if self.worker is None else f" {self.worker}"
        what = self.kind.replace("worker", f"worker{whom}", 1) if "worker" in self.kind else f"{self.kind}{whom and f', worker{whom}'}"
        return what + (f" ({self.detail})" if self.detail else "") + (f" for {self.for_s:.1f} s" if self.for_s else "")


@dataclass
class _Writer:
    """Knows what is free when."""

    random: Random
    free_at: dict[str, float] = field(default_factory=dict)
    members: set[int] = field(default_factory=lambda: set(range(WORKERS)))

    def is_free(self, what: str, at_s: float) -> bool:
        return self.free_at.get(what, 0.0) <= at_s

    def workers(self, at_s: float, part: str = "") -> list[int]:
        """Members of which this part has no fault."""
        return [n for n in sorted(self.members) if self.is_free(f"worker {n}{part}", at_s)]

    def fault(self, kind: str, at_s: float) -> Fault | None:
        """One of a kind, None if nothing is free for it."""
        draw = self.random.uniform
        match kind:
            case "worker killed":
                return self.of_worker(kind, at_s, draw(0.2, 6.0), WORKER_BACK_S)
            case "worker stopped":
                return self.of_worker(kind, at_s, draw(5.0, 40.0), 1.0)
            case "clock set":
                ahead_s = self.random.choice((draw(-50, 50) * 60, draw(-50, 50) * 60, -24 * HOUR_S, 2 * HOUR_S))
                seconds = draw(3.0, 12.0) if ahead_s > HOUR_S else draw(10.0, 60.0)  # Kafka refuses what is more than an hour ahead
                return self.of_worker(kind, at_s, seconds, 0.0, " clock", f"{ahead_s:+.0f} s", ahead_s)
            case "replies cut":
                request = self.random.choice(CUTS)
                server = " Redis" if request in ("apply", "load") else " Kafka"
                return self.of_worker(kind, at_s, 4.0, 0.0, server, request, self.random.randint(1, 3))
            case "cut off from Kafka" | "cut off from Redis":
                way = self.random.choice(("both ways", "both ways", "requests", "replies"))
                reset = self.random.choice((0.0, 1.0))
                return self.of_worker(kind, at_s, draw(1.0, 25.0), 1.0, kind[-6:], way + (", then reset" if reset else ""), reset)
            case "Redis killed":
                return self.of_server(kind, "Redis", at_s, draw(0.0, 6.0), STORE_BACK_S)
            case "Redis older":
                return self.of_server(kind, "Redis", at_s, 0.0, STORE_BACK_S)
            case "Kafka killed":
                return self.of_server(kind, "Kafka", at_s, draw(0.0, 4.0), BROKER_BACK_S)
            case "worker leaves":
                leaving = self.workers(at_s)
                return self.move(at_s, self.random.choice(leaving), -1) if len(self.members) > 1 and leaving else None
            case "worker joins":
                absent = [n for n in range(SLOTS) if n not in self.members and self.is_free(f"worker {n}", at_s)]
                return self.move(at_s, self.random.choice(absent), 1) if absent else None
        raise AssertionError(kind)

    def of_worker(
        self, kind: str, at_s: float, for_s: float, back_s: float, part: str = "", detail: str = "", amount: float = 0.0
    ) -> Fault | None:
        workers = self.workers(at_s, part)
        if kind == "replies cut":  # of one that asks something
            workers = [n for n in workers if self.is_free(f"worker {n}", at_s)]
        if not workers:
            return None
        worker = self.random.choice(workers)
        self.free_at[f"worker {worker}{part}"] = at_s + for_s + back_s
        return Fault(at_s, kind, for_s, worker, detail, amount)

    def of_server(self, kind: str, server: str, at_s: float, for_s: float, back_s: float) -> Fault | None:
        if not self.is_free(server, at_s):
            return None
        self.free_at[server] = at_s + for_s + back_s
        return Fault(at_s, kind, for_s)

    def move(self, at_s: float, worker: int, by: int) -> Fault:
        (self.members.add if by > 0 else self.members.discard)(worker)
        self.free_at[f"worker {worker}"] = at_s + WORKER_BACK_S
        return Fault(at_s, "worker joins" if by > 0 else "worker leaves", 0.0, worker)

    def tide(self, at_s: float) -> Iterator[Fault]:
        """From as many workers as there are to one, to five, to one, and back to the usual ones, in good order."""
        for by in (step for steps in TIDE for step in steps):
            at_s += TIDE_EVERY_S
            fault = self.fault("worker joins" if by > 0 else "worker leaves", at_s)
            if fault is not None:
                yield fault

    def alone(self, at_s: float) -> Iterator[Fault]:
        """One of each kind by itself, with time to recover."""
        made = (
            Fault(0, "worker killed", 2.0, 0),
            Fault(0, "Redis killed", 3.0),
            Fault(0, "worker stopped", 15.0, 1),
            Fault(0, "Redis older", 0.0),
            Fault(0, "Kafka killed", 1.0),
            Fault(0, "cut off from Kafka", 15.0, 2, "both ways"),
            Fault(0, "cut off from Redis", 8.0, 0, "both ways"),
            Fault(0, "worker killed", 2.0, 2),
            Fault(0, "worker leaves", 0.0, 1),
            Fault(0, "worker joins", 0.0, 1),
        )
        for fault in made:
            yield Fault(at_s, fault.kind, fault.for_s, fault.worker, fault.detail)
            at_s += max(fault.for_s, BROKER_BACK_S if "Kafka" in fault.kind else 0) + 12.0


def plan(seed: int, seconds: float, every_s: float) -> list[Fault]:
    """The faults of a run in order, one every ``every_s`` on average. A run that is long enough begins with one of each kind by itself and has a
    tide of workers in each half of the rest; after its last fault there is time to take all of them back."""
    writer = _Writer(Random(f"chaos {seed}"))
    found = list(writer.alone(FIRST_AT_S)) if seconds >= ALONE_FROM_S else []
    begins = found[-1].at_s + 10.0 if found else FIRST_AT_S
    tides = [begins + share * (seconds - begins) for share in (0.25, 0.75)] if found else []
    at_s = begins
    for _ in count():
        at_s += writer.random.uniform(0.2, 1.8) * every_s
        if at_s >= seconds:
            return sorted(found, key=lambda fault: fault.at_s)
        if tides and at_s >= tides[0]:
            tide = list(writer.tide(tides.pop(0)))
            found += tide
            at_s = max(at_s, tide[-1].at_s if tide else at_s)
            continue
        # What has no room now is drawn again.
        for _ in range(20):
            kind = writer.random.choices(list(KINDS), list(KINDS.values()))[0]
            fault = writer.fault(kind, at_s)
            if fault is not None:
                found.append(fault)
                break
    raise AssertionError
