"""The metrics of drift: what is counted is what the committed outputs say, and nothing of it is in the journal."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from engine.metrics import HISTOGRAM, LABELS, MEANINGS, ShardCollector
from engine.state.outputs import NO_OUTPUTS, Fact, Facts, Names, Outputs
from engine.state.record import JournalRecord
from engine.state.states import NO_STATES
from engine.stream import offline
from engine.stream.progress import Progress
from engine.stream.tally import NO_BAND, SCORE_BOUNDS, Tally
from schemas.topics import CHANGES
from scripts.personas import population
from tests.cli.program import ROOT
from tests.personas.lives import KEY, POLICY, START_MS, log_of


@pytest.fixture(scope="module")
def journal() -> list[JournalRecord]:
    """Some lives under the default policy."""
    log = log_of(population(24, 5, START_MS, 200))
    return list(offline.decide([offline.activation(POLICY), *log], KEY, "limits"))


@pytest.fixture(scope="module")
def outputs(journal: list[JournalRecord]) -> Outputs:
    return Outputs.joined([record.outputs for record in journal])


def parsed(outputs: Outputs, topic: str) -> list[dict[str, Any]]:
    return [json.loads(output.value) for output in outputs if output.topic == topic]


def test_what_is_counted_is_what_the_outputs_say(outputs: Outputs) -> None:
    tally = Tally()
    tally.add(outputs.facts)
    changes = parsed(outputs, CHANGES.name)
    judged = [(change, change["trace"]) for change in changes if change["trace"]["guard"] != "closed"]
    assert 100 < len(judged) < len(outputs)
    moves = Counter(
        (change["trace"]["segment"], change["previous"]["band"] or NO_BAND, change["standing"]["band"] or NO_BAND)
        for change in changes
        if change["previous"]["band"] != change["standing"]["band"]
    )
    assert tally.band_changes == moves
    assert tally.arrears == Counter((trace["segment"], trace["bucket"]) for _, trace in judged)
    assert tally.features == Counter(
        (trace["segment"], "missing" if row["value"] is None else "known") for _, trace in judged for row in trace["features"]
    )
    for segment, counts in tally.scores.items():
        scores = [trace["score"] for _, trace in judged if trace["segment"] == segment]
        up_to = [sum(score <= bound for score in scores) for bound in SCORE_BOUNDS]
        assert [sum(counts[: place + 1]) for place in range(len(SCORE_BOUNDS))] == up_to
        assert sum(counts) == len(scores)
    told = [json.loads(output.value) for output in outputs if output.topic != CHANGES.name]
    assert tally.withheld == Counter(advisory["guard"] for advisory in told if advisory["kind"] == "increase_withheld")
    kinds = (len(tally.band_changes), len(tally.arrears), len(tally.features), len(tally.withheld))
    assert min(kinds) > 1, "all of them were tried"


def test_facts_are_no_part_of_an_output(journal: list[JournalRecord]) -> None:
    record = next(record for record in journal if record.outputs)
    again = JournalRecord.decode(record.encode())
    assert again.output_refs == record.output_refs
    assert record.outputs.facts is not None
    without = replace(record, outputs=Outputs.of(record.outputs))
    assert without.outputs == record.outputs
    assert without.encode() == record.encode()
    assert replace(record.outputs[0], value=b"{}").ref != again.output_refs[0]
    tally = Tally()
    tally.add(again.outputs.facts)
    assert tally == Tally(), "what comes from the journal is not counted again"


@pytest.mark.parametrize(("score", "place"), [(-5, 0), (0, 0), (1, 1), (50, 1), (51, 2), (1_000, 20), (1_001, 21)])
def test_the_buckets_of_the_score(score: int, place: int) -> None:
    tally = Tally()
    told = {Fact.BAND_BEFORE: 7, Fact.BAND_AFTER: 7, Fact.SCORE: score, Fact.MISSING: 1}
    columns = np.array([[told.get(fact, 0)] for fact in Fact])
    tally.add(Facts(columns, Names(["individual"], {7: "low"}, np.array([4]))))
    assert tally.features == {("individual", "known"): 3, ("individual", "missing"): 1}
    assert [number for number, count in enumerate(tally.scores["individual"]) if count] == [place]
    assert not tally.band_changes


def record_of(outputs: Outputs) -> JournalRecord:
    """A committed record with these outputs."""
    rolled = (("accepted", 3), ("rolled:individual:0:1", 2), ("swept", 9), ("swept:individual:0", 9))
    return JournalRecord("limits", 0, 1, "", "", 0, len(outputs), (), NO_STATES, (), outputs, (), rolled)


def scraped(*shards: Outputs) -> dict[str, list[Any]]:
    """What Prometheus would read of a worker whose shards have committed these outputs: samples by family."""
    held: dict[int, Any] = {}
    for number, mine in enumerate(shards):
        progress = Progress(structlog.get_logger())
        progress.note_commit(record_of(mine), 100)
        held[number] = SimpleNamespace(progress=progress, lag=lambda: 0)
    registry = CollectorRegistry()
    worker: Any = SimpleNamespace(shards=held)
    registry.register(ShardCollector(worker))
    text = generate_latest(registry).decode()
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


ACCOUNT_FREE: Final = {"shard", "le", *(label for labels in LABELS.values() for label in labels)}


def test_what_prometheus_reads(outputs: Outputs) -> None:
    half = len(outputs) // 2
    families = scraped(outputs[:half], outputs[half:])
    assert {name.removesuffix("_total") for name in MEANINGS} == set(families)
    accounts = {output.key.decode() for output in outputs}
    for samples in families.values():
        for sample in samples:
            assert sample.labels.keys() <= ACCOUNT_FREE
            assert not accounts & set(sample.labels.values())
    tally = Tally()
    tally.add(outputs.facts)
    by_guard: Counter[str] = Counter()
    for sample in families["limits_withheld"]:
        by_guard[sample.labels["guard"]] += int(sample.value)
    assert by_guard == tally.withheld
    every = {(s.labels["shard"], s.labels["segment"]): s.value for s in families[HISTOGRAM] if s.labels["le"] == "+Inf"}
    assert sum(every.values()) == sum(map(sum, tally.scores.values()))
    assert {sample.name for sample in families[HISTOGRAM]} == {f"{HISTOGRAM}_bucket"}
    assert {shard for shard, _ in every} == {"0", "1"}
    rolls = [(s.labels["segment"], s.labels["from"], s.labels["to"], s.value) for s in families["limits_rolls"]]
    assert rolls == [("individual", "0", "1", 2)] * 2
    assert [(s.labels["segment"], s.labels["bucket"], s.value) for s in families["limits_swept"]] == [("individual", "0", 9)] * 2
    moved = {(s.labels["segment"], s.labels["from"], s.labels["to"]) for s in families["limits_band_changes"]}
    assert moved == tally.band_changes.keys()
    assert sum(sample.value for sample in families["limits_changes"]) == len(parsed(outputs, CHANGES.name))


def test_the_page_names_the_metrics_and_their_labels() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    rows = re.findall(r"^\| `(limits_\w+)`[^|]*\| ([^|]+) \|", page, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", labels)) - {"le"} for name, labels in rows}
    assert told == {name: set(labels) for name, labels in LABELS.items() if name != "limits_policy_info"}


def test_a_shard_that_has_done_nothing_tells_its_numbers() -> None:
    families = scraped(NO_OUTPUTS)
    assert [sample.value for sample in families["limits_changes"]] == [0]
    assert families["limits_band_changes"] == families[HISTOGRAM] == []
