"""A pack: the rules of a jurisdiction that a lender's policy is combined with, as frozen pydantic models. Not legal advice.

Each rule says where it stands, from which day on it binds, when somebody last read it there, and has exactly one effect. ``docs/policy.md``
(14) explains each effect; ``engine.policy.combine`` carries them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.policy.document import (
    AMOUNT_MAX,
    INPUT_PATTERN,
    RULE_PATTERN,
    Eligibility,
    Language,
    Name,
    PackUse,
    Policy,
    PolicyModel,
    as_tuples,
)
from engine.policy.errors import Path, Problem, did_you_mean
from engine.policy.verify_segments import requirement_problems

RECALLED: Final = "recalled"
EFFECTS: Final = (
    "legal_cap_minor",
    "requirement",
    "consent",
    "unsolicited_offers",
    "decrease_notice_days",
    "rate_rise_notice_days",
    "evidence_months",
    "forbidden_inputs",
    "forbidden_outputs",
    "highest_yearly_cost_bp",
    "duty",
)

_LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")


def _day(text: str) -> str:
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError("must be a day such as 2024-12-31")


def _checked(text: str) -> str:
    try:
        return text if text == RECALLED else _day(text)
    except ValueError:
        raise ValueError("must be the day on which it was read, such as 2026-11-25, or recalled") from None


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must say something")
    return text


Sentence = Annotated[str, Field(max_length=1000), AfterValidator(_said)]
Day = Annotated[str, AfterValidator(_day)]
Checked = Annotated[str, AfterValidator(_checked)]
Input = Annotated[str, Field(pattern=INPUT_PATTERN)]
Output = Literal["advice_to_raise_the_limit", "offers", "rate_rises"]


class Rule(PolicyModel):
    """One rule of a jurisdiction. In force from ``valid_from`` to ``valid_to`` (both inclusive), days in ISO 8601.

    ``checked_on`` is the day on which somebody read it at its source, or ``recalled``: written from memory. ``lenders`` are the kinds of lender
    that it binds (all where none is named). Exactly one of the keys of ``EFFECTS`` is given.
    """

    name: Annotated[str, Field(pattern=RULE_PATTERN, max_length=96)]
    demands: Sentence
    source: Sentence
    address: Sentence | None = None
    valid_from: Day
    valid_to: Day | None = None
    checked_on: Checked
    lenders: tuple[Name, ...] | None = Field(None, min_length=1, max_length=16)
    applies_to: Literal["consumer", "business", "all"]
    doubts: Sentence | None = None

    legal_cap_minor: int | None = Field(None, ge=0, le=AMOUNT_MAX)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    requirement: Eligibility | None = None
    consent: Literal["needed"] | None = None
    unsolicited_offers: bool | None = None
    decrease_notice_days: int | None = Field(None, ge=1, le=366)
    rate_rise_notice_days: int | None = Field(None, ge=1, le=366)
    evidence_months: int | None = Field(None, ge=12, le=360)
    forbidden_inputs: tuple[Input, ...] | None = Field(None, min_length=1, max_length=64)
    forbidden_outputs: tuple[Output, ...] | None = Field(None, min_length=1, max_length=3)
    highest_yearly_cost_bp: int | None = Field(None, ge=0, le=1_000_000)
    duty: Sentence | None = None

    @property
    def effects(self) -> list[str]:
        """The effects that are given; one, in a verified pack."""
        return [effect for effect in EFFECTS if getattr(self, effect) is not None]

    def in_force(self, on: str) -> bool:
        """Whether it binds on this day."""
        return self.valid_from <= on and (self.valid_to is None or on <= self.valid_to)

    def binds(self, lender: str | None) -> bool:
        """Whether it binds this kind of lender; a lender that is not told is bound by everything."""
        return lender is None or self.lenders is None or lender in self.lenders


class Pack(PolicyModel):
    """The rules of one jurisdiction. ``lenders`` names kinds of lender that no rule names but a policy may."""

    pack: Name
    title: Sentence
    lenders: tuple[Name, ...] | None = Field(None, min_length=1, max_length=16)
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, value: object) -> object:
        return as_tuples(value)

    @classmethod
    def from_plain(cls, value: object) -> Self:
        """Build from plain data. Raises pydantic.ValidationError."""
        return cls.model_validate(value)

    @property
    def kinds_of_lender(self) -> list[str]:
        """All kinds of lender that the pack tells apart."""
        return sorted({*(self.lenders or ()), *(lender for rule in self.rules for lender in rule.lenders or ())})


def pack_problems(pack: Pack) -> Iterator[Problem]:
    """What one field of a pack says against another."""
    first: dict[str, int] = {}
    for i, rule in enumerate(pack.rules):
        path: Path = ("rules", i)
        if rule.name in first:
            yield Problem((*path, "name"), f"{rule.name!r} is taken by rules[{first[rule.name]}]")
        first.setdefault(rule.name, i)
        if not rule.name.startswith(f"{pack.pack}."):
            yield Problem((*path, "name"), f"a rule of the pack {pack.pack} has a name that begins with it", f"{pack.pack}.{rule.name}")
        if rule.valid_to is not None and rule.valid_to < rule.valid_from:
            yield Problem((*path, "valid_to"), f"{rule.valid_to} is before valid_from, {rule.valid_from}: the rule would never bind")
        yield from _effect_problems(rule, path)


def _effect_problems(rule: Rule, path: Path) -> Iterator[Problem]:
    effects = rule.effects
    if not effects:
        yield Problem(path, f"{rule.name} has no effect", f"write one of {', '.join(EFFECTS)}; a duty changes nothing and is listed")
    elif len(effects) > 1:
        yield Problem((*path, effects[1]), f"{rule.name} has {effects[0]} already: a rule has one effect", "write a second rule")
    if rule.legal_cap_minor is not None and rule.currency is None:
        yield Problem((*path, "currency"), "is missing: an amount without a currency caps nothing", "write currency: CNY")
    if rule.currency is not None and rule.legal_cap_minor is None:
        yield Problem((*path, "currency"), "belongs to legal_cap_minor", "leave it out")
    if rule.unsolicited_offers:
        yield Problem((*path, "unsolicited_offers"), "a rule can only forbid them", "write unsolicited_offers: false, or leave it out")
    if rule.requirement is not None:
        here: Path = (*path, "requirement")
        if rule.requirement.feature is not None:
            yield Problem((*here, "feature"), "a pack does not know the features of a policy", "test a figure of the profile")
            return
        yield from requirement_problems(rule.requirement, here)
        for language in _LANGUAGES:
            if language not in rule.requirement.text:
                yield Problem(
                    (*here, "text", language), "is missing: who fails the requirement is told so", "write text: {zh: ..., en: ...}"
                )


def use_problems(policy: Policy) -> Iterator[Problem]:
    """What is wrong with the packs that a policy names, as far as it can be said without them."""
    segments = [segment.name for segment in policy.segments]
    taken: dict[tuple[str, str], str] = {}
    for i, use in enumerate(policy.packs or ()):
        path: Path = ("packs", i)
        if not use.consumer and not use.business:
            yield Problem(path, f"the pack {use.pack} is for no segment", f"write consumer: [{segments[0]}] or business: [{segments[-1]}]")
        for key in ("consumer", "business"):
            for j, segment in enumerate(getattr(use, key)):
                here: Path = (*path, key, j)
                if segment not in segments:
                    yield Problem(here, f"there is no segment {segment!r}", f"there is {' and '.join(segments)}")
                elif (use.pack, segment) in taken:
                    hint = "a segment's borrowers are consumers or businesses"
                    yield Problem(here, f"{segment!r} stands in {taken[use.pack, segment]} already", hint)
                taken.setdefault((use.pack, segment), f"packs[{i}].{key}")


def bound_segments(rule: Rule, use: PackUse) -> tuple[str, ...]:
    """The segments of a policy that a rule holds for, where the policy uses its pack like this."""
    consumer: tuple[str, ...] = use.consumer if rule.applies_to != "business" else ()
    business: tuple[str, ...] = use.business if rule.applies_to != "consumer" else ()
    return consumer + business if rule.binds(use.lender) else ()


def lender_problem(pack: Pack, use: PackUse, path: Path) -> Iterator[Problem]:
    """A kind of lender that the pack does not know: a slip of the pen must not set a lender free."""
    known = pack.kinds_of_lender
    if use.lender is not None and use.lender not in known:
        hint = did_you_mean(use.lender, known) or (f"known: {', '.join(known)}" if known else "leave it out")
        yield Problem((*path, "lender"), f"the pack {pack.pack} knows no lender {use.lender!r}", f"{hint}; without it every rule binds")
