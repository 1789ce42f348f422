"""Packs of a jurisdiction's rules: what each effect does to a policy, what is refused and where, and that the strictest wins in any order."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from engine.core.fingerprint import FingerprintKey
from engine.policy.combine import Combination, combine, stricter
from engine.policy.compile import compile_policy
from engine.policy.document import PackUse, Policy
from engine.policy.errors import PolicyErrors
from engine.policy.law_checks import is_forbidden
from engine.policy.pack import EFFECTS, Pack
from engine.policy.pack_source import built_in_packs, load_pack, pack_file, parse_pack
from engine.policy.promote import canonical_bytes, policy_hash, promote
from engine.policy.source import from_plain, load_combined, load_policy, parse_policy
from engine.policy.verify import verify
from tests.policy.texts import completed

HERE: Final = Path(__file__).parent
POLICIES: Final = HERE.parents[1] / "policies"
TODAY: Final = date(2026, 11, 25)
PACKS: Final = {name: load_pack(pack_file(name, HERE)) for name in built_in_packs()}
RULE: Final[dict[str, Any]] = {
    "name": "law.a",
    "demands": "A demand.",
    "source": "Act 1",
    "valid_from": "2020-01-01",
    "checked_on": "2026-11-25",
    "applies_to": "all",
}


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe", pure=True).load((HERE / name).read_text("utf-8"))
    return found


def written(file: Path, value: object) -> Path:
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(value, stream)
    return file


@cache
def default() -> Policy:
    return load_policy(POLICIES / "default.yaml")


def law_of(*rules: dict[str, Any], name: str = "law") -> dict[str, Any]:
    return {"pack": name, "title": "A law", "rules": [RULE | {"name": f"{name}.{'abcdefgh'[i]}"} | rule for i, rule in enumerate(rules)]}


def policy_file(directory: Path, text: str, uses: str = "packs: [{pack: law.yaml, consumer: [individual]}]") -> Path:
    file = directory / "policy.yaml"
    file.write_text(completed(text) + f"{uses}\n", "utf-8")
    return file


def told(file: Path, on: date = TODAY) -> list[str]:
    """What is wrong with a policy in a file, without the file's name; the files beside it are named BESIDE/..."""
    try:
        load_policy(file, on)
    except PolicyErrors as found:
        return [str(error).removeprefix(f"{file}:").replace(str(file.parent), "BESIDE") for error in found.errors]
    return []


def at(plain: Any, path: str) -> Any:
    for step in path.split("."):
        plain = plain[int(step)] if isinstance(plain, list) else plain[step]
    return plain


def plain_of(policy: Policy) -> dict[str, Any]:
    return policy.model_dump(mode="json", by_alias=True)


# Packs


@pytest.mark.parametrize("case", cases("pack_mistakes.yaml"), ids=lambda case: case["mistake"])
def test_a_mistake_in_a_pack_is_told_with_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(PolicyErrors) as found:
        parse_pack(case["pack"].encode(), "x.yaml")
    assert [str(error).removeprefix("x.yaml:") for error in found.value.errors] == case["says"]


@pytest.mark.parametrize("case", cases("pack_uses.yaml"), ids=lambda case: case["mistake"])
def test_a_mistake_in_naming_packs_is_told_with_its_place(case: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of({"duty": "Keep it.", "lenders": ["bank"]}))
    written(tmp_path / "twin.yaml", law_of({"duty": "Keep it."}))
    (tmp_path / "broken.yaml").write_text("pack: law\ntitle: A law\nrules: none\n", "utf-8")
    file = tmp_path / "policy.yaml"
    file.write_text(completed(case["policy"]), "utf-8")
    assert told(file) == case["says"]


# Effects

EFFECT_CASES: Final = cases("pack_effects.yaml")


def test_every_effect_has_a_case() -> None:
    assert {effect for case in EFFECT_CASES for effect in case["rule"]} == {*EFFECTS, "currency"}


@pytest.mark.parametrize("case", EFFECT_CASES, ids=lambda case: case["effect"])
def test_an_effect_is_carried_out(case: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of(case["rule"]))
    file = policy_file(tmp_path, case["passes"])
    policy = load_policy(file, TODAY)
    plain = plain_of(policy)
    assert {path: at(plain, path) for path in case["becomes"]} == case["becomes"]
    assert policy.law is not None
    assert policy.packs is None
    (record,) = policy.law
    assert (record.rule, record.source, record.valid_from, record.checked_on) == ("law.a", "Act 1", "2020-01-01", "2026-11-25")
    assert record.effect == next(iter(case["rule"]))
    assert verify(policy) == []
    assert from_plain(policy.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True), "limit-control") == policy


@pytest.mark.parametrize("case", [case for case in EFFECT_CASES if "fails" in case], ids=lambda case: case["effect"])
def test_what_an_effect_forbids_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of(case["rule"]))
    file = policy_file(tmp_path, case["fails"])
    assert told(file) == case["says"]
    written(tmp_path / "law.yaml", law_of({"duty": "Keep it."}))
    assert told(file) == []


def test_what_is_stricter_already_stays(tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of({"decrease_notice_days": 7}, {"evidence_months": 24}, {"unsolicited_offers": False}))
    policy = load_policy(policy_file(tmp_path, "evidence_months: 60"), TODAY)
    assert (policy.evidence_months, policy.segments[0].notices.decrease_days) == (60, 7)
    assert [(r.effect, r.before, r.after) for r in policy.law or ()] == [
        ("decrease_notice_days", 0, 7),
        ("evidence_months", None, None),
        ("unsolicited_offers", None, None),
    ]


def test_too_many_requirements_are_refused_at_the_policy(tmp_path: Path) -> None:
    test = {"figure": "income_monthly_minor", "at_least": 1, "text": {"zh": "无", "en": "No"}}
    own = ", ".join(f"{{code: c{i}, figure: status, in: [active]}}" for i in range(24))
    written(tmp_path / "law.yaml", law_of({"requirement": test | {"code": "income"}}))
    text = f"""
        segments:
          - name: individual
            base_points: 0
            eligibility: [{own}]
            scorecard: [{{feature: f, bins: [{{points: 0}}], missing: 0}}]
            bands: [{{name: none, limit_minor: 0}}]
            limits: {{product_cap_minor: 0, legal_cap_minor: 0, round_to_minor: 1}}
            cool_down: {{up_days: 0, down_days: 0}}
    """
    (mistake,) = told(policy_file(tmp_path, text))
    assert mistake == "4:18: segments[0].eligibility: needs at most 24 items, has 25, once the policy is combined with its packs"


def test_a_name_is_forbidden_however_it_is_spelled() -> None:
    assert is_forbidden("attributes.religion", "religion")
    assert is_forbidden("attributes.religion", "attributes.religion")
    assert is_forbidden("attributes.person.religion", "religion")
    assert is_forbidden("attributes.social_network_x", "social_network_*")
    assert is_forbidden("attributes.Social-Network.friends", "social_network*")
    assert is_forbidden("attributes.bureau.social_network.friends", "social_network*")
    assert is_forbidden("merchant_id", "merchant_id")
    assert not is_forbidden("attributes.religions", "religion")
    assert not is_forbidden("attributes.social", "social_network_*")
    assert not is_forbidden("attributes.religion.known", "religion")


# Days, lenders, clienteles


def test_a_rule_binds_from_its_first_to_its_last_day(tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of({"evidence_months": 84, "valid_from": "2026-03-01", "valid_to": "2026-06-30"}))
    file = policy_file(tmp_path, "version: 1")
    on = [date(2025, 11, 30), date(2025, 12, 1), date(2026, 2, 28), date(2026, 3, 1), date(2026, 6, 30), date(2026, 7, 1)]
    found = [load_combined(file, day) for day in on]
    assert [c.policy.evidence_months for c in found] == [60, 60, 60, 84, 84, 60]
    assert [[rule.name for rule in c.coming] for c in found] == [[], ["law.a"], ["law.a"], [], [], []]
    assert found[0].policy.law == ()


def test_an_instant_is_the_policys_day(tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of({"evidence_months": 84, "valid_from": "2026-03-01"}))
    file = policy_file(tmp_path, "utc_offset_minutes: 480")
    moments = [datetime(2026, 2, 28, hour, 59, tzinfo=UTC) for hour in (15, 16)]
    assert [load_policy(file, moment).evidence_months for moment in moments] == [60, 84]


def test_a_rule_binds_its_lenders_and_who_does_not_say(tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of({"evidence_months": 84, "lenders": ["bank"]}) | {"lenders": ["shop"]})
    uses = {lender: f"packs: [{{pack: law.yaml, consumer: [individual]{lender}}}]" for lender in ("", ", lender: bank", ", lender: shop")}
    found = [load_policy(policy_file(tmp_path, "version: 1", use), TODAY).evidence_months for use in uses.values()]
    assert found == [84, 84, 60]


def test_a_rule_binds_its_clientele() -> None:
    policy = default()
    rules = [{"decrease_notice_days": days, "applies_to": who} for days, who in ((20, "consumer"), (30, "business"), (10, "all"))]
    pack = Pack.from_plain(law_of(*rules))
    days = {
        name: [segment.notices.decrease_days for segment in combined(policy, {"law": pack}, [PackUse.model_validate(use)]).segments]
        for name, use in {
            "apart": {"pack": "law", "consumer": ("individual",), "business": ("enterprise",)},
            "consumers": {"pack": "law", "consumer": ("individual", "enterprise")},
            "one": {"pack": "law", "business": ("enterprise",)},
        }.items()
    }
    assert days == {"apart": [20, 30], "consumers": [20, 20], "one": [7, 30]}


# Nobody puts in force what is not combined


def test_what_is_not_combined_is_not_put_in_force(tmp_path: Path) -> None:
    written(tmp_path / "law.yaml", law_of({"evidence_months": 84}))
    file = policy_file(tmp_path, "version: 1")
    policy = load_policy(file)
    with pytest.raises(ValueError, match=r"policy small is not combined with its packs \(law\.yaml\) yet"):
        promote(policy, None, datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="is not combined with its packs"):
        compile_policy(policy, FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f"))
    plain = policy.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    with pytest.raises(PolicyErrors, match="limit-control: packs: are combined with the policy before it is put in force"):
        from_plain(plain, "limit-control")


def test_what_the_law_demanded_is_part_of_the_document(tmp_path: Path) -> None:
    file = policy_file(tmp_path, "version: 1")
    written(tmp_path / "law.yaml", law_of({"duty": "Keep it."}))
    one = promote(load_policy(file, TODAY), None, datetime(2026, 3, 1, tzinfo=UTC))
    written(tmp_path / "law.yaml", law_of({"duty": "Keep it well."}))
    other = promote(load_policy(file, TODAY), None, datetime(2026, 3, 1, tzinfo=UTC))
    assert b'"law":[{"checked_on":"2026-11-25","demands":"A demand.","duty":"Keep it.","effect":"duty","rule":"law.a",' in canonical_bytes(
        one
    )
    assert policy_hash(one) != policy_hash(other)
    with pytest.raises(PolicyErrors, match="law: is written by"):
        parse_policy(canonical_bytes(one), "x.json")


def test_a_policy_without_packs_keeps_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(completed("version: 1"), "utf-8")
    assert load_combined(file, TODAY) == Combination(load_policy(file))
    assert canonical_bytes(load_policy(file, TODAY)) == canonical_bytes(load_policy(file))
    assert b"law" not in canonical_bytes(load_policy(file, TODAY))


# The strictest wins

STRICT: Final = st.fixed_dictionaries(
    {"applies_to": st.sampled_from(["consumer", "business", "all"])},
    optional={},
).flatmap(
    lambda base: st.one_of(
        st.integers(0, 200_000_000).map(lambda cap: {"legal_cap_minor": cap, "currency": "CNY"}),
        st.just({"consent": "needed"}),
        st.just({"unsolicited_offers": False}),
        st.integers(1, 60).map(lambda days: {"decrease_notice_days": days}),
        st.integers(1, 60).map(lambda days: {"rate_rise_notice_days": days}),
        st.integers(12, 120).map(lambda months: {"evidence_months": months}),
        st.sampled_from(["over_indebted", "ability", "consent_not_given"]).map(
            lambda code: {"requirement": {"code": code, "figure": "income_monthly_minor", "at_least": 1, "text": {"zh": "无", "en": "No"}}}
        ),
        st.just({"duty": "Keep it."}),
    ).map(lambda effect: base | effect)
)  # fmt: skip
USES: Final = (
    {"consumer": ("individual",), "business": ("enterprise",)},
    {"consumer": ("individual", "enterprise")},
    {"business": ("enterprise",)},
)


def combined(policy: Policy, packs: dict[str, Pack], uses: list[PackUse]) -> Policy:
    combination, problems = combine(policy.model_copy(update={"packs": tuple(uses)}), packs, TODAY)
    assert combination is not None, problems
    return combination.policy


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_strictest_wins_in_any_order(data: st.DataObject) -> None:
    policy = default()
    written_packs = [
        law_of(*data.draw(st.lists(STRICT, min_size=1, max_size=4)), name=name)
        for name in data.draw(st.lists(st.sampled_from(["p", "q", "r"]), min_size=1, max_size=3, unique=True))
    ]
    packs = {plain["pack"]: Pack.from_plain(plain) for plain in written_packs}
    uses = [PackUse.model_validate({"pack": name} | data.draw(st.sampled_from(USES))) for name in packs]
    whole = combined(policy, packs, uses)
    shuffled = {name: pack.model_copy(update={"rules": tuple(data.draw(st.permutations(pack.rules)))}) for name, pack in packs.items()}
    assert combined(policy, shuffled, data.draw(st.permutations(uses))) == whole
    assert verify(whole) == []
    for part in (policy, *(combined(policy, packs, [use]) for use in uses)):
        assert_not_laxer(whole, part)


def assert_not_laxer(whole: Policy, part: Policy) -> None:
    assert whole.evidence_months >= part.evidence_months
    for one, other in zip(whole.segments, part.segments, strict=True):
        assert one.limits.legal_cap_minor <= other.limits.legal_cap_minor
        assert one.notices.decrease_days >= other.notices.decrease_days
        assert one.rates is not None
        assert other.rates is not None
        assert one.rates.rise_notice_days >= other.rates.rise_notice_days
        assert (one.increases.consent, other.increases.consent) != ("not_needed", "needed")
        assert one.increases.unsolicited_offers <= other.increases.unsolicited_offers
        kept = [test.model_copy(update={"code": ""}) for test in one.eligibility]
        assert all(kept.count(test) >= [t.model_copy(update={"code": ""}) for t in other.eligibility].count(test) for test in kept)
        assert len(one.eligibility) >= len(other.eligibility)
        codes = [test.code for test in one.eligibility]
        assert len(set(codes)) == len(codes)


def test_stricter_takes_sides() -> None:
    assert stricter("legal_cap_minor", 1, 2) == stricter("legal_cap_minor", 2, 1) == 1
    assert stricter("decrease_notice_days", 1, 2) == stricter("decrease_notice_days", 2, 1) == 2
    assert stricter("consent", "needed", "not_needed") == stricter("consent", "not_needed", "needed") == "needed"
    assert stricter("unsolicited_offers", True, False) is stricter("unsolicited_offers", False, True) is False


# The packs that come with the engine


def test_every_pack_is_named_as_its_file_and_by_the_default_policy() -> None:
    assert sorted(PACKS) == ["au", "ca", "cn", "eu", "uk", "us"]
    assert all(pack.pack == name for name, pack in PACKS.items())
    assert [use.pack for use in default().packs or ()] == ["cn"]


def test_a_duty_changes_nothing() -> None:
    policy = default()
    for pack in PACKS.values():
        duties = pack.model_copy(
            update={"rules": tuple(r for r in pack.rules if r.duty is not None), "lenders": tuple(pack.kinds_of_lender) or None}
        )
        use = PackUse.model_validate({"pack": pack.pack, "consumer": ("individual",), "business": ("enterprise",)})
        combination, problems = combine(policy.model_copy(update={"packs": (use,)}), {pack.pack: duties}, date(2030, 1, 1))
        assert combination is not None, problems
        assert plain_of(combination.policy) | {"law": None, "packs": None} == plain_of(policy) | {"packs": None}
        assert combination.policy.law
        assert all(record.duty for record in combination.policy.law)


def test_every_rule_is_in_order() -> None:
    """Nothing read in the future; a rule written from memory, or whose day is, says so; the names stand once over all packs."""
    names = [rule.name for pack in PACKS.values() for rule in pack.rules]
    assert len(set(names)) == len(names)
    for pack in PACKS.values():
        for rule in pack.rules:
            assert rule.checked_on == "recalled" or rule.checked_on <= "2026-11-25"
            assert rule.address is None or rule.address.startswith("http")
    assert all(one <= other for one, other in pairwise(sorted(names)))


def test_the_rules_that_the_packs_are_for() -> None:
    rules = {rule.name: rule for pack in PACKS.values() for rule in pack.rules}
    assert rules["cn.net_micro.consumer_cap"].legal_cap_minor == 200_000 * 100
    assert rules["cn.net_micro.business_cap"].legal_cap_minor == 10_000_000 * 100
    assert rules["cn.micro.total_cost_24"].highest_yearly_cost_bp == 2_400
    for name, figure in {
        "us.regz.ability_to_pay": "income_monthly_minor",
        "us.regz.ability_fresh": "income_as_of",
        "cn.no_student_consumer_loan": "employment",
        "uk.industry.no_offer_in_persistent_debt": "persistent_debt_months",
    }.items():
        requirement = rules[name].requirement
        assert requirement is not None
        assert (requirement.figure, requirement.unknown) == (figure, "fail")
    assert rules["ca.bank.increase_consent"].consent == "needed"
    assert rules["au.card.no_increase_invitation"].forbidden_outputs == ("advice_to_raise_the_limit", "offers")
    assert "social_network*" in (rules["eu.ccd2.data_limits"].forbidden_inputs or ())
    assert rules["uk.conc.no_rate_rise_at_risk"].forbidden_outputs == ("rate_rises",)
