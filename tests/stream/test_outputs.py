"""Values made of forms and fragments have the bytes that encoding them whole gives, whatever is decided, under whatever policy, in whatever
order."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from pydantic import TypeAdapter

from engine.core.layout import CAPS_AT, MISSING, Block, Col, Guard, Kind, Out, Standing, Topic, after, before
from engine.core.name_ids import name_ids
from engine.core.packed import Packed
from engine.core.tables import Ints
from engine.policy.advice import columns
from engine.policy.document import Policy
from engine.policy.fragments import instant, moment
from engine.state.outputs import Output, Outputs
from engine.stream import turn
from engine.stream.render import IDS, TICK, Causes, Renderer
from engine.stream.tally import Tally
from schemas.advisories import Advisory
from schemas.changes import LimitChange
from schemas.topics import CHANGES
from tests.core.bridge import Kernel
from tests.core.test_kernel import do
from tests.core.test_lives import Life
from tests.generate import braked_policy, cases, seeded_log, seeded_policy, seeded_shard
from tests.oracle.account import Step
from tests.oracle.decide import Emission
from tests.oracle.records import Record
from tests.oracle.shard import Release, Sweep, Switch
from tests.stream.plain_outputs import Cause, PlainRenderer, causes_of, counted
from tests.stream.runs import Shard, lives, promoted

DAY_MS: Final = 86_400_000
RECORDS: Final = 150
ADVISORY: Final = TypeAdapter[Any](Advisory)
AWKWARD: Final = 'of "{}" 100% \\ \n\x7f é 逾期 \U0001f600'  # whatever a text may have in it

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SHARD: Final = 3


def one_cause(place: int, offset: int, own_id: str, at_ms: int) -> Causes:
    return Causes(np.array([place]), np.array([offset]), Packed.of([own_id.encode()]), np.array([at_ms]))


CAUSES: Final = st.builds(one_cause, st.integers(0, TICK), st.integers(0, 2**60), TEXT, st.integers(-(10**12), 10**14))
CAUSE: Final = one_cause(Topic.PURCHASE, 17, "e-1", 1_750_000_000_123)


def worded(policy: Policy) -> Policy:
    """The policy with texts for everything that can have one."""

    def told(name: str, *, placeholder: str = "") -> dict[str, str]:
        return {language: f"{name} {language} {placeholder} {AWKWARD}" for language in ("zh", "en")}

    def of_feature(feature: Any) -> Any:
        texts: dict[str, Any] = {key: told(key) for key in ("text", "adverse_text", "favourable_text")}
        if feature.advice is not None:
            placeholder = "{at_least}" if feature.advice.direction == "raise" else "{below}"
            texts["advice"] = feature.advice.model_copy(update={"text": told("advice", placeholder=placeholder)})
        return feature.model_copy(update=texts)

    def of_tests(tests: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(test.model_copy(update={"text": told(test.code)}) for test in tests)

    def of_segment(segment: Any) -> Any:
        protection, takeover = segment.protection, segment.protection.takeover
        if takeover is not None:
            takeover = takeover.model_copy(update={"signals": of_tests(takeover.signals)})
        protection = protection.model_copy(update={"takeover": takeover, "over_borrowing": of_tests(protection.over_borrowing)})
        return segment.model_copy(update={"protection": protection, "eligibility": of_tests(segment.eligibility)})

    features, segments = map(of_feature, policy.features), map(of_segment, policy.segments)
    return policy.model_copy(update={"features": tuple(features), "segments": tuple(segments)})


class Compared(Renderer):
    """The engine's renderer, held against the plain one at every output."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self, policy: Any, application: str, shard: int) -> None:
        super().__init__(policy, application, shard)
        self.plain = PlainRenderer(policy, application, shard)
        self.shard = shard

    def render(self, decisions: Ints, accounts: Packed, causes: Causes, output_sequence: int) -> Outputs:
        made = super().render(decisions, accounts, causes, output_sequence)
        assert len(made) == len(decisions)
        plain = zip(decisions.tolist(), accounts, causes_of(causes, self.shard), strict=True)
        for place, (decision, account, cause) in enumerate(plain):
            assert account is not None
            self.compare(made[place : place + 1], decision, account, cause, output_sequence + place)
        return made

    def compare(self, made: Outputs, decision: Sequence[int], account: bytes, cause: Cause, output_sequence: int) -> None:
        """Hold one output against the plain one."""
        [output], expected = made, self.plain.render(decision, account, cause, output_sequence)
        assert output.value is not None
        assert expected.value is not None
        assert output.value.decode() == expected.value.decode()
        assert output == expected
        tally = Tally()
        tally.add(made.facts)
        assert tally == counted(json.loads(output.value))
        if output.topic == CHANGES.name:
            LimitChange.model_validate_json(output.value)
        else:
            ADVISORY.validate_json(output.value)
        self.seen[Kind(decision[Out.KIND]).name] += 1


def rendered(renderer: Renderer, decisions: Sequence[Ints], account: str = "a", cause: Causes = CAUSE) -> list[Output]:
    """Outputs for decisions on one account."""
    if not len(decisions):
        return []
    same = np.zeros(len(decisions), np.int64)
    causes = Causes(cause.places[same], cause.offsets[same], cause.ids.at(same), cause.occurred_at_ms[same])
    return list(renderer.render(np.array(decisions), Packed.of([account.encode()]).at(same), causes, 1))


@pytest.fixture
def seen() -> Counter[str]:
    """How many outputs of each kind were compared."""
    Compared.seen.clear()
    return Compared.seen


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.data())
def test_small_cases(case: tuple[Policy, list[Record]], data: st.DataObject) -> None:
    policy, log = worded(case[0]), case[1]
    kernel = Kernel(policy, log)
    renderer = Compared(kernel.policy, "limits", SHARD)
    account, cause = data.draw(TEXT), data.draw(CAUSES)
    rendered(renderer, kernel.take(0, len(log), room=1024), account, cause)


def test_large_seeded_cases(seen: Counter[str]) -> None:
    """Whole shards, with sweeps, appetites and brakes."""
    for seed in range(40):
        policy = worded(braked_policy(seed))
        happenings = seeded_shard(policy, seed, RECORDS)
        kernel = Kernel(policy, [each for each in happenings if not isinstance(each, Sweep | Switch | Release)])
        kernel.set_brakes(0, 1)
        renderer, place = Compared(kernel.policy, "limits", 0), 0
        for happening in happenings:
            for decision in do(kernel, happening, place):
                rendered(renderer, [decision], kernel.accounts[decision[Out.SLOT]])
            place += not isinstance(happening, Sweep | Switch | Release)
    assert {kind.name for kind in Kind} - seen.keys() == set()


class ToldLife(Life):
    """A life of which everything is told."""

    def agree(self, step: Step, decisions: Sequence[Ints]) -> list[Emission]:
        renderer = Compared(self.kernel.policy, "limits", 0)
        rendered(renderer, decisions)
        return super().agree(step, decisions)


def test_lives(seen: Counter[str]) -> None:
    usual = settings(max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(ToldLife, settings=usual)
    assert len(seen) > 10


async def test_customers_under_the_policies_that_come_with_the_engine(monkeypatch: pytest.MonkeyPatch, seen: Counter[str]) -> None:
    monkeypatch.setattr(turn, "Renderer", Compared)
    for name, least in (("default", 500), ("minimal", 50)):
        seen.clear()
        await Shard.of(lives(promoted(name), accounts=60, days=120, seed=8), 5_000).journal(sweeps=Random(8))
        assert seen.total() > least


def test_columns_of_a_row_that_no_generated_life_has(seen: Counter[str]) -> None:
    """Every part of a standing, set and not, ended and not; names that the policy does not know."""
    policy = worded(seeded_policy(3))
    log = seeded_log(policy, 3, RECORDS)
    kernel = Kernel(policy, log)
    renderer, random = Compared(kernel.policy, "limits", 0), Random(3)
    decisions = [decision for decision in kernel.take(0, len(log), room=1024) if decision[Out.KIND] < Kind.OVER_BORROWING]
    with_ends = (
        ((Col.TEMPORARY_LIMIT,), Col.TEMPORARY_UNTIL),
        ((Col.OFFER, Col.OFFER_LIMIT), Col.OFFER_UNTIL),
        ((Col.PENDING_LIMIT,), Col.PENDING_AT),
        ((Col.OVERRIDE_LIMIT,), Col.OVERRIDE_UNTIL),
        ((Col.PENDING_RATE,), Col.PENDING_RATE_AT),
        ((), Col.HOLD_UNTIL),
    )
    for _ in range(1_000):
        row = random.choice(decisions).copy()
        clock = row[Out.CLOCK]
        for place in (before, after):
            for parts, end in with_ends:
                row[place(end)] = random.choice([MISSING, clock - 1, clock, clock + 1, clock + 9 * DAY_MS])
                for column in parts:
                    row[place(column)] = MISSING if row[place(end)] == MISSING else random.choice([0, 7, 2**40 - 1])
            for column in (Col.CEILING, Col.BAND, Col.RATE_TIER):
                row[place(column)] = random.choice([MISSING, 0, 7, 2**40 - 1, row[place(column)]])
            row[place(Col.BLOCKS)] = random.randrange(1 << len(Block))
            row[place(Col.STANDING)] = random.choice([*map(int, Standing)])
        row[Out.EXPOSURE], row[Out.EXPOSURE_AS_OF] = random.choice([MISSING, -5, 900]), random.choice([MISSING, clock])
        row[Out.GUARD] = random.choice([*map(int, Guard)])
        row[Out.GUARD_UNTIL] = random.choice([MISSING, clock])
        row[CAPS_AT + random.randrange(1, 8)] = random.choice([0, 2**62, row[CAPS_AT]])
        made = Renderer(kernel.policy, "limits", 0) if random.random() < 0.01 else renderer
        assert rendered(made, [row], 'é"') == rendered(renderer, [row], 'é"')


def test_what_was_rendered_before_changes_nothing() -> None:
    policy = promoted("default")
    log = seeded_log(policy, 1, 400)
    kernel = Kernel(policy, log)
    rows = list(kernel.take(0, len(log), room=1024))
    assert len(rows) > 50
    forward, backward = Renderer(kernel.policy, "limits", 0), Renderer(kernel.policy, "limits", 0)
    first = [rendered(forward, [row]) for row in rows]
    assert [rendered(backward, [row]) for row in rows[::-1]][::-1] == first
    assert [rendered(forward, [row]) for row in rows] == first
    assert [output.value for output in rendered(forward, rows)] == [output.value for [output] in first]


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_an_instant(at_ms: int) -> None:
    expected = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")
    assert instant(at_ms) == expected.replace("+00:00", "Z")
    assert (moment(at_ms), moment(MISSING)) == (f'"{instant(at_ms)}"', "null")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), max_size=4))
def test_name_based_uuids(names: list[str]) -> None:
    found = name_ids(IDS.bytes, Packed.of(name.encode() for name in names))
    assert found.present() == [str(uuid.uuid5(IDS, name)).encode() for name in names]


@pytest.mark.parametrize("places", [[], [2], [2, 0]])
def test_columns(places: list[int]) -> None:
    assert columns(places)([5, 6, 7]) == tuple([5, 6, 7][place] for place in places)
