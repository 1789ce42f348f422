"""The scanner never takes what the judge refuses, reads the same columns, and takes what is ordinary."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import MISSING, Command, Ev, Fig, Topic
from engine.policy.compile import compile_policy
from engine.policy.source import load_policy
from engine.stream.decode.decoder import Decoded, Decoder, decode_control
from engine.stream.decode.fields import EVENT_MODELS, FIELDS_MAX, NOTED, OF_EVENTS, OTHERS_MAX, FieldKind, Fields, profile_fields
from engine.stream.decode.misrouting import partition_of
from engine.stream.decode.scanner import TEXT_MAX
from engine.stream.records import Chunk, Headers
from schemas.common import VALUE_BYTES_MAX
from schemas.profiles import Profile
from schemas.topics import INPUTS
from scripts.personas import midnight_before, population

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
RULES: Final = compile_policy(load_policy("policies/default.yaml", date(2026, 3, 1)), KEY).decode
AT: Final = 1_772_340_000_000
NOW: Final = "2026-03-01T12:40:00+08:00"

EVENTS: Final[dict[Topic, dict[str, Any]]] = {
    Topic.REPAYMENT: {
        "event_id": "e-1",
        "account_id": "a-1",
        "occurred_at": NOW,
        "currency": "CNY",
        "loan_id": "l-1",
        "due_at": NOW,
        "amount_due_minor": 5000,
        "amount_minor": 5000,
    },
    Topic.PURCHASE: {
        "event_id": "e-2",
        "account_id": "a-1",
        "occurred_at": NOW,
        "currency": "CNY",
        "amount_minor": 1250,
        "category": "groceries",
        "channel": "app",
        "merchant_id": "m-1",
        "funded_by": "own",
    },
    Topic.TRANSFER: {
        "event_id": "e-3",
        "account_id": "a-1",
        "occurred_at": NOW,
        "currency": "CNY",
        "amount_minor": 99,
        "direction": "in",
        "counterparty_id": "c-1",
        "purpose": "salary",
        "product": "loan",
        "reverses": {"event_id": "e-0", "occurred_at": NOW, "full": True},
    },
    Topic.PROFILE: {
        "event_id": "p-1",
        "account_id": "a-1",
        "occurred_at": NOW,
        "as_of": NOW,
        "segment": "individual",
        "status": "active",
        "currency": "CNY",
    },
    Topic.COMMAND: {
        "command_id": "c-1",
        "account_id": "a-1",
        "issued_at": NOW,
        "issued_by": "ops-1",
        "reason": "lost phone",
        "kind": "freeze",
        "cause": "customer",
    },
}
FULL_PROFILE: Final[dict[str, Any]] = EVENTS[Topic.PROFILE] | {
    "corrects": True,
    "segment": "enterprise",
    "status": "forbearance",
    "jurisdiction": "CN-SH",
    "opened_on": "2024-02-29",
    "applied_at": NOW,
    "requested_limit_minor": 1,
    "identity_verified_until": "2031-12-31",
    "employment": "self_employed",
    "income": {"monthly_minor": 0, "proof": "documented", "as_of": NOW},
    "debt_service_monthly_minor": 2,
    "assets_minor": None,
    "exposure_minor": 3,
    "external_debt_minor": 4,
    "external_limits_minor": 5,
    "credit_record": {"months": 6, "completeness_percent": 100, "delinquencies_24m": None, "persistent_debt_months": 7},
    "business": {"revenue_yearly_minor": 8, "bank_flow_monthly_minor": 9, "ecosystem_activity_monthly": 10},
    "consent_at": "1969-12-31T23:59:59.999Z",
    "opted_out_at": None,
    "device_changed_at": NOW,
    "contact_changed_at": "2026-02-28",
    "granted": {"limit_minor": 11, "band": "B2", "since": "2025-01-01"},
    "applied": {"sequence": 12, "limit_minor": 13},
    "related": [
        {"party_id": "x", "role": "principal", "eligible": True, "score": -3, "as_of": "2026-01-01"},
        {"party_id": "y", "role": "group", "exposure_minor": 2**53 - 1, "days_past_due": 3},
        {"party_id": "z", "role": "joint", "exposure_minor": 9, "limit_minor": 1, "eligible": False},
        {"party_id": "é", "role": "guarantor", "exposure_minor": 5, "days_past_due": 1},
    ],
    "attributes": {"tax_grade": -3, "a.b-C_9": 1, "x" * 64: -(2**53) + 1, "network_risk_percent": 5, "network_risk_percents": 6},
}
WHOLE: Final = {topic: [event] for topic, event in EVENTS.items()} | {Topic.PROFILE: [FULL_PROFILE, EVENTS[Topic.PROFILE]]}
ADDED: Final = ("jurisdiction", "opened_on", "employment", "assets_minor", "corrects", "identity_verified_unti", "identity_verified_untim")
SCANNED: Final = [Topic.REPAYMENT, Topic.PURCHASE, Topic.TRANSFER, Topic.PROFILE]


def raw(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def decode(
    topic: Topic,
    values: list[bytes | None],
    *,
    key: bytes | None = b"a-1",
    headers: list[Headers] | None = None,
    partitions: int = 1,
    partition: int = 0,
    judged: bool = False,
) -> Decoded:
    decoder = Decoder(RULES, KEY, partition, partitions)
    if judged:
        decoder._tables = {}
    n = len(values)
    return decoder.decode(Chunk.of(topic, list(range(n)), [AT] * n, [key] * n, values, headers))


def scanned(chunk: Chunk) -> npt.NDArray[np.bool_]:
    """Which records of a chunk the scanner takes."""
    decoder, n = Decoder(RULES, KEY, 0, 1), len(chunk)
    columns = np.repeat(decoder._blanks[chunk.topic][:, None], n, axis=1)
    return decoder._scan(chunk, columns, np.repeat(decoder._blank_profile[None], n, axis=0))


def taken_by_scanner(topic: Topic, value: bytes) -> bool:
    return bool(scanned(Chunk.of(topic, [0], [AT], [b"a-1"], [value], None))[0])


def assert_same(fast: Decoded, slow: Decoded) -> None:
    assert fast.accepted.tolist() == slow.accepted.tolist()
    assert (fast.columns[: Ev.ID_AT, fast.accepted] == slow.columns[: Ev.ID_AT, slow.accepted]).all()
    assert fast.rejects == slow.rejects
    rows = fast.columns[Ev.PROFILE_ROW, fast.accepted]
    rows = rows[rows != MISSING]
    assert (fast.profiles[rows, :-NOTED] == slow.profiles[rows, :-NOTED]).all()


@pytest.mark.parametrize("topic", SCANNED)
def test_an_ordinary_record_is_scanned(topic: Topic) -> None:
    assert taken_by_scanner(topic, raw(EVENTS[topic]))
    assert taken_by_scanner(topic, json.dumps(EVENTS[topic], separators=(",", ":")).encode())
    assert taken_by_scanner(topic, raw(dict(reversed(EVENTS[topic].items()))))


def test_a_profile_with_everything_is_scanned_and_read_alike() -> None:
    empty: dict[str, Any] = {"income": None, "credit_record": {}, "business": {}, "related": [], "attributes": {}}
    more = [[{"party_id": "x", "role": "principal", "eligible": eligible} for eligible in known] for known in PRINCIPALS]
    more.append(FULL_PROFILE["related"] * 12)
    profiles = [FULL_PROFILE, FULL_PROFILE | empty, *(FULL_PROFILE | {"related": related} for related in more)]
    assert all(taken_by_scanner(Topic.PROFILE, raw(profile)) for profile in profiles)
    values: list[bytes | None] = [None, *map(raw, profiles), raw(FULL_PROFILE | {"note": 1}), raw(FULL_PROFILE)[:-1]]
    assert_same(decode(Topic.PROFILE, values), decode(Topic.PROFILE, values, judged=True))
    assert decode(Topic.PROFILE, []).rejects == []


@pytest.mark.parametrize(
    ("attributes", "is_scanned"),
    [
        ({f"other_{i}": i for i in range(16)}, True),
        ({f"other_{i}": i for i in range(17)}, False),  # so many are not noted
        ({f"other_{i}": i for i in range(101)}, False),
        ({"other": 2**53}, False),
        ({"other": -(2**53)}, False),
        ({"x" * 65: 1}, False),
        ({"é": 1}, False),
        ({"a b": 1}, False),
    ],
)
def test_attributes_that_the_policy_does_not_read(attributes: dict[str, int], is_scanned: bool) -> None:
    value = raw(EVENTS[Topic.PROFILE] | {"attributes": attributes})
    assert taken_by_scanner(Topic.PROFILE, value) == is_scanned
    assert_same(decode(Topic.PROFILE, [value]), decode(Topic.PROFILE, [value], judged=True))


@pytest.mark.parametrize("name", ["other", "tax_grade"])
def test_an_attribute_that_comes_twice_is_refused(name: str) -> None:
    value = raw(EVENTS[Topic.PROFILE])[:-1] + b',"attributes":{"%b":1,"more":2,"%b":1}}' % (name.encode(), name.encode())
    (reject,) = decode(Topic.PROFILE, [value]).rejects
    assert reject.message == f"field {name} comes twice"


@pytest.mark.parametrize(
    ("attributes", "is_scanned"),
    [
        ((), True),
        (
            ("behaviour_score_30d", "behaviour_score_90"),
            False,
        ),  # the scanner cannot tell them apart, so it takes none for one of the others
        (("x" * 33,), False),
        (tuple(f"grade_{i}" for i in range(63)), False),
    ],
)
def test_policies_with_attributes_of_all_kinds(attributes: tuple[str, ...], is_scanned: bool) -> None:
    decoders = [Decoder(replace(RULES, attributes=attributes), KEY, 0, 1) for _ in range(2)]
    decoders[1]._tables = {}
    told = {name: place for place, name in enumerate(attributes[-3:])} | {"other": 7}
    values: list[bytes | None] = [raw(EVENTS[Topic.PROFILE] | {"attributes": own}) for own in (told, {}, {"other": 1})]
    chunk = Chunk.of(Topic.PROFILE, [0, 1, 2], [AT] * 3, [b"a-1"] * 3, values, None)
    fast, slow = (decoder.decode(chunk) for decoder in decoders)
    assert_same(fast, slow)
    assert fast.accepted.all()
    figures = np.repeat(decoders[0]._blank_profile[None], 3, axis=0)
    columns = np.repeat(decoders[0]._blanks[Topic.PROFILE][:, None], 3, axis=1)
    assert decoders[0]._scan(chunk, columns, figures).tolist() == [is_scanned, True, is_scanned]


def told_by_contract(schema: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """A property's schema without its null and its references."""
    if "$ref" in schema:
        return told_by_contract(named[schema["$ref"].rsplit("/", 1)[1]], named)
    others = [told_by_contract(part, named) for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    return others[0] if len(others) == 1 else {"one of": others} if others else schema


def assert_taught(fields: Fields, model: type[BaseModel]) -> None:
    """That fields are read in the bounds of their contract."""
    whole = model.model_json_schema()
    strings = {FieldKind.EVENT_ID, FieldKind.ACCOUNT, FieldKind.WORD, FieldKind.PRINT, FieldKind.NAME, FieldKind.BAND}
    instant = {"type": "string", "format": "date-time"}
    exactly: dict[FieldKind, dict[str, Any]] = {
        FieldKind.TRUTH: {"type": "boolean"},
        FieldKind.TIME: instant,
        FieldKind.DAY: {"one of": [{"type": "string", "format": "date"}, instant]},
        FieldKind.CURRENCY: {"type": "string", "pattern": "^[A-Z]{3}$"},
        FieldKind.JURISDICTION: {"type": "string", "pattern": r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"},
        **{kind: {"type": "string", "minLength": 1, "maxLength": TEXT_MAX} for kind in strings},
    }
    for name, schema in whole["properties"].items():
        taught = fields[name]
        own = {key: value for key, value in told_by_contract(schema, whole.get("$defs", {})).items() if key not in ("title", "default")}
        if taught.kind is FieldKind.NUMBER:
            assert own == {"type": "integer", "minimum": taught.low, "maximum": taught.high}, name
        elif taught.kind is FieldKind.ENUM:
            assert taught.codes is not None
            assert own == {"type": "string", "enum": [code.name.lower() for code in taught.codes]}, name
        elif taught.kind is FieldKind.PARTIES:
            assert own["maxItems"] == taught.high
        elif taught.kind is not FieldKind.OBJECT:
            assert own == exactly[taught.kind], name
        if taught.model is not None:
            assert_taught(taught.fields, taught.model)


def test_what_is_taught_is_what_the_contract_says() -> None:
    for model in EVENT_MODELS.values():
        assert_taught(OF_EVENTS, model)
    assert_taught(profile_fields(RULES.attributes), Profile)
    whole = Profile.model_json_schema()["properties"]["attributes"]
    assert set(whole["patternProperties"]) == {"^[A-Za-z0-9_.-]{1,64}$"}
    assert whole["maxProperties"] >= FIELDS_MAX + OTHERS_MAX


def test_the_customers_of_the_demo_are_scanned_and_read_alike() -> None:
    items = list(population(30, 3, midnight_before(datetime(2026, 6, 1, tzinfo=UTC), 90), 90))
    for topic in SCANNED:
        name = INPUTS[topic].name
        mine = [item for item in items if item.topic == name]
        keys: list[bytes | None] = [item.value["account_id"].encode() for item in mine]
        chunk = Chunk.of(topic, list(range(len(mine))), [item.at_ms for item in mine], keys, [raw(item.value) for item in mine], None)
        fast = Decoder(RULES, KEY, 0, 1)
        slow = Decoder(RULES, KEY, 0, 1)
        slow._tables = {}
        decoded = fast.decode(chunk)
        assert decoded.accepted.all()
        assert_same(decoded, slow.decode(chunk))
        spans = decoded.columns[[Ev.ID_AT, Ev.ID_END]].T.tolist()
        ids = [(value or b"")[first:end].decode() for value, (first, end) in zip(chunk.values, spans, strict=True)]
        assert ids == [item.value["event_id"] for item in mine]
        assert scanned(chunk).all()


PRINCIPALS: Final = [(True,), (False,), (None,), (True, None), (True, False), (False, True), (None, False), (True, True)]
WORDS: Final = [
    "",
    "x",
    "groceries",
    "own",
    "credit",
    "in",
    "out",
    "salary",
    "CNY",
    "USD",
    NOW,
    "2026-02-30T00:00:00Z",
    "é漢😀",
    "x" * 64,
    "x" * 65,
]
WORDS_AND_TIMES: Final = [
    *WORDS,
    "x" * 64,
    "x" * 65,
    "2026-03-01T12:40:00.123456789+08:00",
    "2026-03-01T12:40:60+08:00",
    "2026-03-01t12:40:00z",
    "2026-03-01T12:40:00",
    "2026-03-01 12:40:00Z",
    "2026-03-01T24:00:00Z",
    "2026-03-01T12:40:00-00:30",
    "0001-01-01T00:00:00Z",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "2026-02-29",
    "2026-3-01",
    "CN-1234",
    "CN-",
    "cn",
    "self_employed",
    "principal",
    "a\\u0000b",
    '\\"',
]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**53 + 5),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True),
    st.sampled_from(WORDS_AND_TIMES),
    st.text(max_size=70),
    st.just([]),
    st.just({}),
    st.just({"event_id": "x", "occurred_at": NOW, "full": False}),
    st.just({"event_id": "x", "occurred_at": NOW}),
)


@st.composite
def changed_within(draw: Callable[[Any], Any], value: dict[str, Any] | list[Any]) -> Any:
    """A value with one of its members changed, dropped, added or doubled."""
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        own = draw(changed_within(value[place])) if isinstance(value[place], dict) and value[place] else draw(scalars)
        return [*value[:place], own, *value[place + draw(st.integers(0, 1)) :]]
    name = draw(st.sampled_from(sorted(value)))
    match draw(st.sampled_from(["change", "change", "drop", "add"])):
        case "change":
            return value | {name: draw(scalars)}
        case "drop":
            return {other: kept for other, kept in value.items() if other != name}
    return value | {draw(st.sampled_from(["note", "months", "score", "x" * 33])): draw(scalars)}


@st.composite
def records(draw: Callable[[Any], Any]) -> tuple[Topic, bytes]:
    """A record with some of its fields changed, dropped, added, repeated or reordered, in some spelling, maybe cut or with a byte changed."""
    topic = draw(st.sampled_from(SCANNED))
    fields = list(draw(st.sampled_from(WHOLE[topic])).items())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(fields) - 1))
        match draw(st.sampled_from(["change", "drop", "add", "repeat", "swap", "nested", "within", "within"])):
            case "change":
                fields[place] = (fields[place][0], draw(scalars))
            case "drop" if len(fields) > 1:
                del fields[place]
            case "add":
                fields.insert(place, (draw(st.sampled_from(["note", "product", "reverses", "x" * 20, "", *ADDED])), draw(scalars)))
            case "repeat":
                fields.append(fields[place])
            case "swap":
                fields[0], fields[place] = fields[place], fields[0]
            case "nested":
                fields.append(("reverses", {"event_id": draw(scalars), "occurred_at": draw(scalars), "full": draw(scalars)}))
            case "within":
                places = [place for place, (_, value) in enumerate(fields) if isinstance(value, dict | list) and value]
                if places:
                    place = draw(st.sampled_from(places))
                    fields[place] = (fields[place][0], draw(changed_within(fields[place][1])))
    escape = draw(st.booleans())
    pad = draw(st.sampled_from(["", " ", "\n\t "]))
    pairs = (f"{json.dumps(name)}{pad}:{pad}{json.dumps(value, ensure_ascii=escape)}" for name, value in fields)
    text = "{" + pad + f"{pad},{pad}".join(pairs) + pad + "}" + pad
    data = text.encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "byte", "twice"])):
        case "cut":
            data = data[: draw(st.integers(0, len(data)))]
        case "byte":
            place = draw(st.integers(0, len(data) - 1))
            data = data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
        case "twice":
            data = data + data
    return topic, data


@settings(max_examples=1500, deadline=None)
@given(records())
def test_scanner_and_judge_agree(record: tuple[Topic, bytes]) -> None:
    topic, value = record
    assert_same(decode(topic, [value]), decode(topic, [value], judged=True))


@pytest.mark.parametrize("seed", range(3))
def test_they_agree_on_random_damage(seed: int) -> None:
    random = Random(seed)
    for topic in SCANNED:
        values: list[bytes | None] = []
        for _ in range(1500):
            data = bytearray(raw(random.choice(WHOLE[topic])))
            for _ in range(random.choice((0, 1, 1, 2))):
                data[random.randrange(len(data))] = random.choice(b'"\\{}[],:0123456789-+.eE\x00\x1f \x80\xc3\xe2\xf0TZtrufalsn')
            values.append(bytes(data))
        assert_same(decode(topic, values), decode(topic, values, judged=True))


BAD: Final[list[tuple[str, Topic, bytes | None]]] = [
    ("not_json", Topic.PURCHASE, b"nonsense"),
    ("not_json", Topic.PURCHASE, b""),
    ("not_json", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE])[:-4]),
    ("not_json", Topic.PURCHASE, b"[" * 10_000),
    ("not_json", Topic.PROFILE, b"\xff\xfe"),
    ("invalid", Topic.PURCHASE, None),
    ("invalid", Topic.COMMAND, None),
    ("invalid", Topic.PURCHASE, b"[]"),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"amount_minor": "12"})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"amount_minor": 12.0})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"amount_minor": True})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"amount_minor": 2**53})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"amount_minor": 10**400})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"amount_minor": -1})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"occurred_at": "2026-03-01T12:40:00"})),
    ("invalid", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"funded_by": "gift"})),
    ("invalid", Topic.PURCHASE, b'{"event_id":"a",' + raw(EVENTS[Topic.PURCHASE])[1:]),
    ("invalid", Topic.COMMAND, raw(EVENTS[Topic.COMMAND] | {"kind": "explode"})),
    ("unknown_field", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"note": 1})),
    ("unknown_field", Topic.PROFILE, raw(EVENTS[Topic.PROFILE] | {"name": "Wang"})),
    ("currency_mismatch", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"currency": "USD"})),
    ("currency_mismatch", Topic.PROFILE, raw(EVENTS[Topic.PROFILE] | {"currency": "USD"})),
    ("key_mismatch", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"account_id": "a-2"})),
    ("key_mismatch", Topic.COMMAND, raw(EVENTS[Topic.COMMAND] | {"account_id": "a-2"})),
    ("in_the_future", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"occurred_at": "2026-03-01T12:50:00+08:00"})),
    ("in_the_future", Topic.PROFILE, raw(EVENTS[Topic.PROFILE] | {"occurred_at": "2027-03-01T12:50:00+08:00"})),
    ("in_the_future", Topic.PROFILE, raw(EVENTS[Topic.PROFILE] | {"as_of": "2026-03-01T12:50:00+08:00"})),
    ("too_old", Topic.PURCHASE, raw(EVENTS[Topic.PURCHASE] | {"occurred_at": "2020-03-01T12:40:00+08:00"})),
    ("too_large", Topic.PURCHASE, b" " * (VALUE_BYTES_MAX + 1)),
    ("too_large", Topic.PROFILE, b"{" + b" " * 1_000_000),
]


@pytest.mark.parametrize(("disposition", "topic", "value"), BAD, ids=[f"{i}-{d}" for i, (d, _, _) in enumerate(BAD)])
def test_each_mistake_has_its_disposition_and_its_neighbours_are_unharmed(disposition: str, topic: Topic, value: bytes | None) -> None:
    good = raw(EVENTS[topic])
    decoded = decode(topic, [good, value, good])
    assert decoded.accepted.tolist() == [True, False, True]
    assert [(reject.index, reject.disposition) for reject in decoded.rejects] == [(1, disposition)]
    assert decoded.rejects[0].message
    assert (decoded.columns[:, 0] == decode(topic, [good]).columns[:, 0]).all()


def test_a_record_without_a_key_says_how_to_key_it() -> None:
    decoded = decode(Topic.PURCHASE, [raw(EVENTS[Topic.PURCHASE])], key=None)
    assert decoded.rejects[0].disposition == "key_mismatch"
    assert "account" in decoded.rejects[0].message


@pytest.mark.parametrize("headers", [None, [(), (("content-type", b"application/cloudevents+json"), ("ce_source", b"\xff")), ()]])
def test_a_profile_without_a_value_is_the_wish_to_forget(headers: list[Headers] | None) -> None:
    good = raw(EVENTS[Topic.PROFILE])
    decoded = decode(Topic.PROFILE, [good, None, good], headers=headers)
    assert decoded.accepted.all()
    assert decoded.rejects == []
    assert decoded.columns[Ev.PROFILE_ROW].tolist() == [0, MISSING, 2]
    assert decoded.columns[Ev.OCCURRED_AT, 1] == decoded.columns[Ev.RECORD_TIME, 1] == AT
    assert decoded.columns[Ev.TOPIC].tolist() == [Topic.PROFILE] * 3


@pytest.mark.parametrize(
    ("key", "disposition"), [(None, "key_mismatch"), (b"", "invalid"), (b"\xff", "invalid"), ("账".encode() * 65, "invalid")]
)
def test_a_profile_without_a_value_names_an_account_by_its_key(key: bytes | None, disposition: str) -> None:
    (reject,) = decode(Topic.PROFILE, [None], key=key).rejects
    assert reject.disposition == disposition
    assert decode(Topic.PROFILE, [None], key="账".encode() * 64).accepted.all()


def test_a_profile_without_a_value_in_another_accounts_partition_is_misrouted() -> None:
    owner = partition_of(b"a-1", 12)
    assert decode(Topic.PROFILE, [None], partitions=12, partition=owner).accepted.all()
    (reject,) = decode(Topic.PROFILE, [None], partitions=12, partition=(owner + 1) % 12).rejects
    assert reject.disposition == "misrouted"


@pytest.mark.parametrize("topic", [Topic.PURCHASE, Topic.PROFILE])
def test_a_record_in_another_accounts_partition_is_misrouted(topic: Topic) -> None:
    owner = partition_of(b"a-1", 12)
    assert decode(topic, [raw(EVENTS[topic])], partitions=12, partition=owner).accepted.all()
    (reject,) = decode(topic, [raw(EVENTS[topic])], partitions=12, partition=(owner + 1) % 12).rejects
    assert reject.disposition == "misrouted"
    assert "murmur2_random" in reject.message


def test_murmur2_is_kafkas() -> None:
    # The vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
    from engine.stream.decode.misrouting import murmur2

    for text, expected in (("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536), ("abc", 479470107)):
        data = np.frombuffer(text.encode(), np.uint8)
        assert int(np.uint32(murmur2(data, 0, len(data))).astype(np.int32)) == expected


def cloudevent(headers: dict[str, str]) -> list[Headers]:
    return [tuple((name, value.encode()) for name, value in headers.items())]


@pytest.mark.parametrize("topic", SCANNED)
@pytest.mark.parametrize("judged", [False, True])
def test_the_three_forms_of_a_record_are_one(topic: Topic, judged: bool) -> None:
    event = EVENTS[topic]
    bare = decode(topic, [raw(event)], judged=judged)
    named = cloudevent({"ce_id": event["event_id"], "ce_source": "/core", "ce_specversion": "1.0", "ce_type": "x"})
    binary = decode(topic, [raw(event)], headers=named, judged=judged)
    envelope = {"specversion": "1.0", "id": event["event_id"], "source": "/core", "type": "x", "data": event}
    structured = decode(topic, [raw(envelope)], headers=cloudevent({"content-type": "application/cloudevents+json"}), judged=judged)
    assert binary.accepted.all()
    assert structured.accepted.all()
    assert (binary.columns[: Ev.ID_AT] == structured.columns[: Ev.ID_AT]).all()
    differs = np.flatnonzero(bare.columns[:, 0] != binary.columns[:, 0]).tolist()
    assert differs == [Ev.FINGERPRINT]  # the source is part of an event's identity


@pytest.mark.parametrize("topic", [Topic.PURCHASE, Topic.COMMAND])
def test_a_cloudevents_id_must_be_the_records_own(topic: Topic) -> None:
    (reject,) = decode(topic, [raw(EVENTS[topic])], headers=cloudevent({"ce_id": "other"})).rejects
    assert reject.disposition == "invalid"
    assert "ce_id" in reject.message


def test_profiles_and_commands_become_columns() -> None:
    profile = EVENTS[Topic.PROFILE] | {
        "opened_on": "1970-01-03",
        "consent_at": "1970-01-01T20:00:00+00:00",
        "income": {"monthly_minor": 7, "proof": "stated", "as_of": "1970-01-02"},
        "related": [
            {"party_id": "x", "role": "principal", "eligible": True},
            {"party_id": "y", "role": "group", "exposure_minor": 2**53 - 1, "days_past_due": 3},
            {"party_id": "z", "role": "joint", "exposure_minor": 9},
        ],
        "attributes": {"tax_grade": -3, "unread": 5},
    }
    (row,) = decode(Topic.PROFILE, [raw(profile)]).profiles
    assert row[Fig.OPENED_ON] == 2
    assert row[Fig.CONSENT_AT] == 1  # 04:00 of the second day in China
    assert row[Fig.INCOME_MONTHLY] == 7
    assert row[Fig.PRINCIPAL_ELIGIBLE] == 1
    assert row[Fig.RELATED_EXPOSURE] == 2**53 - 1
    assert row[Fig.RELATED_DAYS_PAST_DUE] == 3
    assert row[Fig.ASSETS] == MISSING
    assert row[len(Fig) + RULES.attributes.index("tax_grade")] == -3
    command = decode(Topic.COMMAND, [raw(EVENTS[Topic.COMMAND])])
    assert command.columns[Ev.COMMAND_KIND, 0] == Command.FREEZE


def test_control_needs_no_policy() -> None:
    release = {"control_id": "r-1", "issued_at": NOW, "issued_by": "ops", "kind": "release_breaker", "reason": "checked"}
    taken, rejects = decode_control(Chunk.of(Topic.CONTROL, [5, 6], [AT, AT], [None, None], [raw(release), b"{"], None))
    assert [(i, model.kind) for i, model in taken] == [(0, "release_breaker")]
    assert [(reject.index, reject.disposition) for reject in rejects] == [(1, "not_json")]
