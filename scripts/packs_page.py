"""docs/packs.md from the packs in policies/packs: ``python -m scripts.packs_page`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.policy.document import Eligibility
from engine.policy.pack import Pack, Rule
from engine.policy.pack_source import built_in_packs, load_pack, packs_directory

PAGE: Final = Path(__file__).parents[1] / "docs" / "packs.md"

_HEAD: Final = """\
# Packs: the rules of jurisdictions that come with the engine

**Not legal advice.** Each rule was read where its address leads on the day under *checked*, often in a secondary source, or was written from
memory (*recalled*). Have counsel of the jurisdiction read the rules, and their doubts, before you rely on them; a pack is a file that you can
copy and correct. A rule that is not here is not thereby met.

What a person decides is held to less: `override` and `set_temporary_limit` heed the legal cap, the customer's ceiling, arrears and the days after
them, but no requirement, no consent and no notice. Whoever may send them must know these rules.

What a pack is, how a policy names one and what each effect does to it is in [policy.md](policy.md) §14. This page is made from the files by
`python -m scripts.packs_page`; each file also says where a rule was read. What each rule that changes something stops, and what it lets through,
stands in `tests/scenarios/packs`, where it is tested.
"""


def page() -> str:
    """The whole page."""
    packs = [load_pack(packs_directory() / f"{name}.yaml") for name in built_in_packs()]
    return "\n".join([_HEAD, *(_section(pack) for pack in packs)])


def _section(pack: Pack) -> str:
    lenders = pack.kinds_of_lender
    told = f"Kinds of `lender`: {', '.join(f'`{lender}`' for lender in lenders)}.\n\n" if lenders else ""
    head = "| name | demands | effect | source | from | checked | doubts |\n| --- | --- | --- | --- | --- | --- | --- |\n"
    return f"## {pack.pack}: {pack.title}\n{told}{head}" + "".join(f"{_row(rule)}\n" for rule in pack.rules)


def _row(rule: Rule) -> str:
    days = rule.valid_from if rule.valid_to is None else f"{rule.valid_from} to {rule.valid_to}"
    cells = (f"`{rule.name}`", rule.demands, _effect(rule), rule.source, days, rule.checked_on, rule.doubts or "")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _effect(rule: Rule) -> str:
    who = "" if rule.applies_to == "all" else f" ({rule.applies_to})"
    lenders = "" if rule.lenders is None else f" for {', '.join(rule.lenders)}"
    if rule.duty is not None:
        return f"duty{who}{lenders}: {rule.duty}"
    (effect,) = rule.effects
    value = getattr(rule, effect)
    match value:
        case bool():
            said = str(value).lower()
        case int():
            said = f"{value:,}" + (f" {rule.currency}" if rule.currency is not None else "")
        case tuple():
            said = ", ".join(value).replace("*", "\\*")
        case str():
            said = value
        case _:
            said = _test(value)
    return f"`{effect}`{who}{lenders}: {said}"


def _test(requirement: Eligibility) -> str:
    """A requirement's test, as ``income_as_of, days ago at most 90 (guard ability_not_fresh)``."""
    tests = {
        "at least": requirement.at_least,
        "at most": requirement.at_most,
        "one of": None if requirement.is_in is None else " ".join(requirement.is_in),
        "days ago at least": requirement.min_age_days,
        "days ago at most": requirement.max_age_days,
    }
    said = ", ".join(f"{test} {value}" for test, value in tests.items() if value is not None)
    return f"{requirement.figure}, {said} (guard {requirement.guard})"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
