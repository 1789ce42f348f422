"""docs/policy.md names every word of the grammar, and its examples are policies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from engine.policy.document import Policy, Segment
from engine.policy.pack import Pack
from engine.policy.source import load_policy
from engine.policy.tree import read_tree
from schemas.common import one_schema
from scripts.packs_page import PAGE, page

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = {name: (ROOT / "docs" / name).read_text("utf-8") for name in ("policy.md", "cost.md")}
EXAMPLES: Final = [block for page in PAGES.values() for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]


def words_of(schema: Any) -> set[str]:
    """The field names, and the words that fields may have, anywhere in a JSON Schema."""
    if isinstance(schema, list):
        return {word for part in schema for word in words_of(part)}
    if not isinstance(schema, dict):
        return set()
    listed = {word for word in (*schema.get("enum", ()), schema.get("const")) if isinstance(word, str)}
    return listed | set(schema.get("properties", ())) | {word for part in schema.values() for word in words_of(part)}


def test_every_word_of_the_grammar_is_named() -> None:
    """As code, by itself or among others; of policies and of packs."""
    code = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", "\n".join(PAGES.values())))))
    assert sorted((words_of(one_schema(Policy)) | words_of(one_schema(Pack))) - code - set(re.findall(r"\w+", " ".join(EXAMPLES)))) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_part_of_a_segment_or_of_a_whole(example: str) -> None:
    plain: Any = read_tree(example).plain
    fields = Pack.model_fields | Policy.model_fields | Segment.model_fields
    for name, part in plain.items():
        kind: Any = fields[name].annotation
        TypeAdapter(kind).validate_json(json.dumps(part))


def test_the_page_of_the_packs_is_theirs() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m scripts.packs_page writes it anew"


def test_the_policy_of_the_examples_is_one() -> None:
    assert load_policy(ROOT / "docs" / "examples" / "line.yaml").policy == "line"
