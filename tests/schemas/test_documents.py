"""The examples in docs/producers.md and docs/consumers.md are what the contracts and the engine say."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from pydantic import TypeAdapter

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import Guard, Refused, Topic
from engine.policy.compile import compile_policy
from engine.policy.explain import RULE_TEXTS
from engine.policy.outlook import HOLD_TEXTS
from engine.policy.source import load_policy
from engine.settings import DEFAULT_KEY, Settings
from engine.stream import offline
from engine.stream.decode.decoder import Decoder, Reject
from engine.stream.decode.envelope import Envelope
from engine.stream.decode.judge import judge
from engine.stream.decode.misrouting import partition_of
from engine.stream.records import TOPICS, Chunk
from engine.stream.turn import activated_policy
from engine.stream.written_batches import ZSTD
from schemas import changes, commands, dead_letters, topics
from schemas.advisories import Advisory
from schemas.common import VALUE_BYTES_MAX, one_schema, parse_instant

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = {name: (ROOT / "docs" / name).read_text("utf-8") for name in ("producers.md", "consumers.md")}
FENCE: Final = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
KEY: Final = FingerprintKey.from_hex(DEFAULT_KEY)
SPECS: Final = {spec.name: spec for spec in topics.TOPICS}
WIDTH: Final = 140


@dataclass(frozen=True)
class Block:
    """A fenced block: the document it stands in, the words behind its fence, its text."""

    document: str
    words: tuple[str, ...]
    text: str

    @property
    def topic(self) -> str:
        """The topic that it is marked with, "" for none."""
        return self.word("topic")

    def word(self, name: str, otherwise: str = "") -> str:
        """What it is marked with as ``name=...``."""
        return next((word.removeprefix(f"{name}=") for word in self.words if word.startswith(f"{name}=")), otherwise)


BLOCKS: Final = [Block(name, tuple(words.split()), body) for name, text in DOCUMENTS.items() for words, body in FENCE.findall(text)]
RECORDS: Final = [block for block in BLOCKS if block.topic]
LOGS: Final = [block for block in BLOCKS if "log" in block.words]
PARTS: Final = [block for block in BLOCKS if block.word("part")]


def logged(block: Block) -> list[dict[str, Any]]:
    """The records of a log; a line of it may be broken in the document."""
    decoder, text, found = json.JSONDecoder(), block.text.strip(), []
    while text:
        record, end = decoder.raw_decode(text)
        found.append(record)
        text = text[end:].strip()
    return found


def validate(topic: str, value: Any) -> Any:
    return TypeAdapter(SPECS[topic].model).validate_json(json.dumps(value))


def fields_of(value: Any) -> Any:
    """The names in a value, as far as they are fixed by a contract."""
    if isinstance(value, dict):
        return {name: fields_of(part) for name, part in value.items() if name not in ("caps", "text")}
    return [fields_of(part) for part in value] if isinstance(value, list) else None


@pytest.mark.parametrize("block", RECORDS, ids=lambda block: f"{block.document}-{block.topic}")
def test_an_example_keeps_its_contract(block: Block) -> None:
    value = json.loads(block.text)
    if "structured" in block.words:
        model, envelope = judge(Topic.PURCHASE, block.text.encode(), Envelope(structured=True))
        assert (envelope.source, model.event_id) == (value["source"], value["id"])
        return
    model = validate(block.topic, value)
    if SPECS[block.topic].direction == "out":
        # Readers are open: a field that the contract does not have would not be told.
        assert fields_of(value) == fields_of(TypeAdapter(SPECS[block.topic].model).dump_python(model, mode="json", exclude_unset=True))


def test_every_json_block_is_marked() -> None:
    assert [block.text for block in BLOCKS if "json" in block.words[:1] and block not in RECORDS + LOGS + PARTS] == []
    assert {block.topic for block in RECORDS} == {spec.name for spec in topics.TOPICS if spec.model is not None}


def test_the_activation_would_be_taken() -> None:
    (block,) = [block for block in RECORDS if block.topic == topics.CONTROL.name]
    policy = activated_policy(validate(block.topic, json.loads(block.text)))
    assert policy.policy == json.loads(block.text)["policy"]["policy"]


def decided(block: Block) -> list[tuple[str, dict[str, Any]]]:
    """What a log makes, by topic."""
    records = [offline.activation(load_policy(ROOT / block.word("policy", "policies/minimal.yaml"), date(2026, 3, 1)))]
    for offset, record in enumerate(logged(block), 1):
        validate(record["topic"], record["value"])
        records.append(offline.log_record(TOPICS[record["topic"]], offset, json.dumps(record["value"]).encode()))
    journal = list(offline.decide(records, KEY, Settings.model_fields["application"].default))
    assert [reject for entry in journal for reject in entry.dead_letters] == []
    return [(output.topic, json.loads(output.value)) for entry in journal for output in entry.outputs]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_log_is_decided_as_the_document_shows(document: str) -> None:
    made = [output for block in LOGS if block.document == document for output in decided(block)]
    for found in BLOCKS:
        if found.document != document or "decided" not in found.words:
            continue
        example, part = json.loads(found.text), found.word("part")
        if part:
            assert example in [value.get(part) for _, value in made]
        else:
            assert (found.topic, example) in made


# The table of dead letters


def rejected(value: bytes, *, key: bytes = b"acc-1001", partition: int = 0, partitions: int = 1) -> Reject | None:
    """What the decoder says of a purchase that came five seconds after the document's example."""
    rules = compile_policy(load_policy(ROOT / "policies" / "minimal.yaml"), KEY).decode
    at_ms = int(parse_instant(example_purchase()["occurred_at"]).timestamp() * 1000) + 5_000
    chunk = Chunk.of(Topic.PURCHASE, [0], [at_ms], [key], [value], None)
    return next(iter(Decoder(rules, KEY, partition, partitions).decode(chunk).rejects), None)


def example_purchase() -> dict[str, Any]:
    block = next(block for block in RECORDS if block.topic == topics.PURCHASES.name and "structured" not in block.words)
    return dict(json.loads(block.text))


def changed_purchases() -> list[tuple[str, str]]:
    """Disposition and change of each row of the table whose example is a change in braces."""
    rows = re.findall(r"^\| `(\w+)` \| `(\{.*?\})`", DOCUMENTS["producers.md"], re.MULTILINE)
    return [(disposition, change) for disposition, change in rows if change != '{"event_id": "pu-1", "acc']


@pytest.mark.parametrize(("disposition", "change"), changed_purchases())
def test_a_changed_purchase_is_refused_as_the_table_says(disposition: str, change: str) -> None:
    purchase = example_purchase()
    assert rejected(json.dumps(purchase).encode()) is None
    reject = rejected(json.dumps(purchase | json.loads(change)).encode())
    assert reject is not None
    assert reject.disposition == disposition


def test_the_other_rows_of_the_table() -> None:
    raw = json.dumps(example_purchase()).encode()
    home = partition_of(b"acc-1001", 12)
    assert f"`acc-1001` in partition {home + 1} of 12; it belongs to {home}" in DOCUMENTS["producers.md"]
    assert f"{VALUE_BYTES_MAX:,}" in DOCUMENTS["producers.md"]
    found = [
        rejected(raw + b" " * VALUE_BYTES_MAX),
        rejected(raw[:24]),
        rejected(raw, key=b"acc-7"),
        rejected(raw, partition=home + 1, partitions=12),
    ]
    assert [reject and reject.disposition for reject in found] == ["too_large", "not_json", "key_mismatch", "misrouted"]
    assert rejected(raw, partition=home, partitions=12) is None


def test_the_codec_of_the_outputs_is_told() -> None:
    assert ZSTD == DefaultRecordBatch.CODEC_ZSTD
    assert "| compression | zstd |" in DOCUMENTS["consumers.md"]


# Nothing of the contracts is left out

NAMED: Final = [
    ("producers.md", get_args(dead_letters.Disposition)),
    ("consumers.md", get_args(dead_letters.Disposition)),
    ("consumers.md", get_args(changes.ChangeKind)),
    ("consumers.md", [kind for model in get_args(get_args(Advisory)[0]) for kind in get_args(model.model_fields["kind"].annotation)]),
    ("consumers.md", [getattr(dead_letters, name) for name in dir(dead_letters) if name.isupper()]),
    (
        "producers.md",
        [kind for model in get_args(get_args(commands.Command)[0]) for kind in get_args(model.model_fields["kind"].annotation)],
    ),
    *((name, [refused.name.lower() for refused in Refused if refused not in (Refused.NONE, Refused.GUARD)]) for name in DOCUMENTS),
    ("consumers.md", [guard.name.lower() for guard in Guard if guard != Guard.NONE]),
    ("producers.md", [spec.name for spec in topics.INPUTS]),
    ("consumers.md", [spec.name for spec in topics.OUTPUTS]),
]


@pytest.mark.parametrize(("document", "words"), NAMED)
def test_every_word_of_the_contracts_is_named(document: str, words: list[str]) -> None:
    assert words
    assert [word for word in words if f"`{word}`" not in DOCUMENTS[document]] == []


@pytest.mark.parametrize(("head", "texts"), [("code of a reason", RULE_TEXTS), ("code of what still holds the limit", HOLD_TEXTS)])
def test_every_code_stands_with_its_words(head: str, texts: dict[str, dict[str, str]]) -> None:
    """All that the engine itself can tell a customer, and nothing else; a code that is gone or renamed would break its readers."""
    (table,) = re.findall(rf"^\| {head} \|.*\n\| ---.*\n((?:\|.*\n)+)", DOCUMENTS["consumers.md"], re.MULTILINE)
    rows = [re.fullmatch(r"\| `(\w+)` \| (.*) \| (.*) \|", line) for line in table.splitlines()]
    assert [row and row.groups() for row in rows] == [(code, text["en"], text["zh"]) for code, text in texts.items()]


@pytest.mark.parametrize("spec", [spec for spec in topics.TOPICS if spec.model is not None], ids=lambda spec: spec.name)
def test_every_field_is_named(spec: topics.TopicSpec) -> None:
    """The field stands in the document as code, by itself or among others."""
    schema = one_schema(spec.model)
    models = [model for model in (schema, *schema.get("$defs", {}).values()) if "properties" in model]
    code = " ".join(re.findall(r"`([^`\n]+)`", FENCE.sub("", DOCUMENTS["producers.md" if spec.direction == "in" else "consumers.md"])))
    words = set(re.findall(r"\w+", code))
    if spec is topics.CONTROL:
        models = [model for model in models if "policy_hash" in model["properties"]]
    assert sorted({name for model in models for name in model["properties"]} - words) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_fit_and_programs_can_be_read(document: str) -> None:
    assert [number for number, line in enumerate(DOCUMENTS[document].splitlines(), 1) if len(line) > WIDTH] == []
    for block in BLOCKS:
        if block.document == document and block.words[:1] == ("python",):
            ast.parse(block.text)
