"""Corrected copies: values of a file, each of which takes the place of the dead letter with its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from engine.stream.backlog import Event, Letter, Place, id_of, word_of
from schemas.topics import COMMANDS, REPAYMENTS


@dataclass(frozen=True, slots=True)
class Correction:
    """A corrected value, where it stands (``file:line``), the id that it keeps, and its account."""

    where: str
    id: str
    account: str
    value: bytes


def corrections(lines: Iterable[bytes], name: str) -> tuple[list[Correction], list[str]]:
    """The corrected values in lines of JSON, and the mistakes in them."""
    found: dict[tuple[str, str], Correction] = {}
    mistakes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            plain = from_json(line)
        except ValueError as error:
            mistakes.append(f"{where}: not a JSON object: {error}")
            continue
        plain = plain.get("data", plain) if isinstance(plain, dict) and "specversion" in plain else plain
        own_id, account = id_of(REPAYMENTS.name, plain) or id_of(COMMANDS.name, plain), word_of(plain, "account_id")
        if not own_id:
            mistakes.append(f"{where}: it has no event_id or command_id to know its dead letter by")
        elif (own_id, account) in found:
            mistakes.append(f"{where}: {own_id!r} stands in {found[own_id, account].where} already")
        else:
            found[own_id, account] = Correction(where, own_id, account, line.strip())
    return list(found.values()), mistakes


def matched(letters: Sequence[Letter], given: Sequence[Correction]) -> tuple[dict[Place, Correction], list[str]]:
    """The newest dead letter of each corrected value's event, and the mistakes: no dead letter has its id, or those of several events do and not
    one of them is of its account."""
    by_id: dict[str, dict[Event, Letter]] = {}
    for letter in sorted(letters, key=lambda letter: (letter.written_ms, letter.place)):
        if letter.event is not None:
            by_id.setdefault(letter.event.id, {})[letter.event] = letter
    found: dict[Place, Correction] = {}
    mistakes = []
    for correction in given:
        newest = by_id.get(correction.id, {})
        of_account = {event: letter for event, letter in newest.items() if event.account == correction.account}
        candidates = list((of_account or newest).values())
        if not candidates:
            mistakes.append(f"{correction.where}: none of these dead letters has the id {correction.id!r}")
        elif len(candidates) > 1:
            places = ", ".join(letter.place.short for letter in candidates)
            mistakes.append(f"{correction.where}: {correction.id!r} is the id of several events ({places}): name the one that is meant")
        elif candidates[0].place in found:
            other = found[candidates[0].place].where
            mistakes.append(f"{correction.where}: {candidates[0].place.short} is corrected in {other} already")
        else:
            found[candidates[0].place] = correction
    return found, mistakes
