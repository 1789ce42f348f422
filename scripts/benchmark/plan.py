"""What is run: contenders side by side over one log, then this engine alone where one thing is another than in its plain run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from scripts.benchmark.load import Load
from scripts.benchmark.scene import POLICIES, RUN_ENGINE, Contender

ENGINE: Final = Contender("engine", RUN_ENGINE)
COMPLETE: Final = Contender("engine-complete", RUN_ENGINE, policy=POLICIES["engine-complete"])
HOT_SHARE: Final = 0.5

# What --only names besides contenders.
ALONE: Final = {
    "hot-account": "one account has half of all events",
    "two-workers": "two worker processes share the partitions",
    "accounts": "the same number of events of fewer or more accounts",
    "sweep": "how long the sweep of a day takes, and how many events are taken meanwhile",
}


@dataclass(frozen=True, slots=True)
class Act:
    """Contenders that run one after the other over one log. ``title`` is what --only calls it where it is not its contenders' names."""

    load: Load
    contenders: tuple[Contender, ...]
    title: str = ""

    def narrowed(self, only: str | None) -> Act:
        """With the contenders that were asked for. What is compared with the plain run brings it along."""
        if only in (None, self.title):
            return self
        wanted = (only, "engine") if only in ALONE and only != "sweep" else (only,)
        return replace(self, contenders=tuple(contender for contender in self.contenders if not self.title and contender.name in wanted))


def side_by_side(partitions: int, seconds: float) -> tuple[Contender, ...]:
    """This engine with a policy that asks for as much as other stream processors are measured with; what does the same job in the ordinary way,
    watched for some seconds; and the roofline."""
    return (
        ENGINE,
        Contender("plain-agent", ("-m", "scripts.benchmark.plain_agent"), seconds),
        Contender("faust-tables", ("-m", "scripts.benchmark.faust_tables", str(partitions)), seconds, has_redis=False),
        Contender("quix-streams", ("-m", "scripts.benchmark.quix_streams"), seconds, environment="quix", has_redis=False),
        Contender("bytewax", ("-m", "scripts.benchmark.bytewax_flow"), seconds, environment="bytewax", has_redis=False),
        Contender("roofline", ("-m", "scripts.benchmark.roofline", str(partitions))),
    )


def acts(asked: argparse.Namespace, load: Load) -> Iterator[Act]:
    """The acts that were asked for, but the sweep's; the quick ones where nothing is named."""
    every = [
        Act(load, side_by_side(asked.partitions, asked.plain_seconds)),
        Act(load, (COMPLETE,)),
        Act(replace(load, hot_share=HOT_SHARE), (replace(ENGINE, name="hot-account"),), "hot-account"),
        Act(load, (replace(ENGINE, name="two-workers", workers=2),), "two-workers"),
        *(
            Act(replace(load, accounts=size), (replace(ENGINE, name=f"accounts-{size}"),), "accounts")
            for size in asked.sizes
            if size != load.accounts
        ),
    ]
    for act in every:
        narrowed = act.narrowed(asked.only)
        if narrowed.contenders and not (asked.quick and asked.only is None and act.title):
            yield narrowed


def names() -> list[str]:
    """What --only takes."""
    return [*(contender.name for contender in side_by_side(1, 0.0)), COMPLETE.name, *ALONE]
