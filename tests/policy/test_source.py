"""What an analyst is told of a file: every mistake at once, where it stands, and what was probably meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.policy.document import Policy
from engine.policy.errors import PolicyErrors
from engine.policy.promote import canonical_bytes
from engine.policy.source import BYTES_MAX, from_plain, load_policy, parse_policy
from tests.policy.texts import completed, mistakes, mistakes_in_part, policy_of

FIELDS = (
    "amount_minor, amount_due_minor, days_late, utilisation_percent, category, channel, product, funded_by, direction, purpose, "
    "merchant_id, counterparty_id, outcome, local_hour, days_since or hours_since"
)

DOCUMENTS = {
    "an empty file": ("", "1:1: a policy is a mapping of keys to values, and this is empty"),
    "only comments": ("# nothing\n", "1:1: a policy is a mapping of keys to values, and this is empty"),
    "a list": ("# a list\n- policy: x\n", "2:1: a policy is a mapping of keys to values, and this is a list"),
    "a word": ("policy\n", "1:1: a policy is a mapping of keys to values, and this is a single value"),
    "a tab": ("policy: x\nlimits:\n\tversion: 1\n", "3:1: a tab may not indent YAML (use spaces)"),
    "two documents": ("policy: x\n---\npolicy: y\n", "2:1: a second document begins here (one file holds one policy)"),
    "an open bracket": (
        "policy: x\nmeasures: [1,\n  2\nversion: 1\n",
        "4:8: not valid YAML: expected ',' or ']', but got ':', while parsing",
    ),
    "an open quote": ("policy: 'x\nversion: 1\n", "3:1: not valid YAML: found unexpected end of stream, while scanning a quoted scalar"),
    "two colons": ("policy: a: b\n", "1:10: a second ': ' in one line (put the text in quotes, or begin a new line)"),
    "an unknown alias": ("policy: *name\n", "1:9: undefined alias 'name'"),
    "a control character": ("policy: x\nversion: \x01\n", "2:10: the character U+0001 may not stand in YAML"),
    "a pit": ("policy: " + "[" * 5000, "1:1: the document is nested too deeply"),
    "a document in itself": ("policy: &a [*a]\n", "1:9: the document is nested too deeply"),
    "a billion laughs": (
        "policy: x\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 10)}]\n" for i in range(8)),
        "the document has more than 100000 values once its aliases are written out",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_text_that_is_no_document(name: str) -> None:
    text, expected = DOCUMENTS[name]
    found = mistakes(text)
    assert len(found) == 1
    assert expected in found[0]


PARTS: dict[str, tuple[str, list[str]]] = {
    "a key that stands twice": ("version: 1\nversion: 2", ["2:1: version: this key stands twice, first in line 1"]),
    "a misspelt key": ("verzion: 1\nversion: 1", ["1:1: verzion: unknown key (did you mean 'version'?)"]),
    "a number as a key": ("1: 1", ["1:1: 1: unknown key"]),
    "a list as a key": ("? [a]\n: 1", ["1:1: the key in line 1 is not a word"]),
    "a tag": ("version: !big 1", ["1:10: version: the tag !big is not known here (leave it out)"]),
    "yes is a word": ("needs_profile: yes", ["1:16: needs_profile: must be true or false, not 'yes'"]),
    "NO is a word": ("needs_profile: NO", ["1:16: needs_profile: must be true or false, not 'NO'"]),
    "yes is a word under %YAML 1.1 too": (
        "%YAML 1.1\n---\nneeds_profile: yes",
        ["3:16: needs_profile: must be true or false, not 'yes'"],
    ),
    "a number in quotes": ("version: '1'", ["1:10: version: must be a whole number, not '1' (write it without quotes)"]),
    "a number with commas": (
        "too_far_ahead_seconds: 86,400",
        ["1:24: too_far_ahead_seconds: must be a whole number, not '86,400' (write 86_400)"],
    ),
    "a fraction": (
        "version: 1.5",
        ["1:10: version: must be a whole number, not 1.5 (amounts are in minor units, shares in percent or per mille)"],
    ),
    "a hexadecimal number": ("version: 0x10", ["1:10: version: must be a whole number, not '0x10'"]),
    "true for a number": ("version: true", ["1:10: version: must be a whole number, not true"]),
    "nothing for a number": ("version:", ["1:1: version: must be a whole number, not nothing"]),
    "a number too large": ("utc_offset_minutes: 900", ["1:21: utc_offset_minutes: must be at most 840, not 900"]),
    "years of evidence instead of months": ("evidence_months: 5", ["1:18: evidence_months: must be at least 12, not 5"]),
    "evidence for ever": ("evidence_months: 361", ["1:18: evidence_months: must be at most 360, not 361"]),
    "a number too small": ("version: 0", ["1:10: version: must be at least 1, not 0"]),
    "an enormous number": (f"version: {'9' * 500}", [f"1:10: version: must be at most 2147483647, not {'9' * 37}..."]),
    "a number without end": (f"version: {'9' * 5000}", [f"1:10: version: must be a whole number, not '{'9' * 37}'..."]),
    "a number for a name": ("policy: 5", ["1:9: policy: must be text, not 5 (put it in quotes)"]),
    "a name that is none": (
        "policy: My-Policy",
        ["1:9: policy: must be a name: a small letter first, then small letters, digits and _, at most 48 in all, not 'My-Policy'"],
    ),
    "a currency in words": ("currency: yuan", ["1:11: currency: must be a currency of three capital letters, such as CNY, not 'yuan'"]),
    "a word instead of a list": ("measures: m", ["1:11: measures: must be a list, not 'm' (write [m])"]),
    "a mapping instead of a list": (
        "measures:\n  name: m",
        ["1:1: measures: must be a list, not a mapping (write it in brackets)"],
    ),
    "a list instead of a mapping": ("arrears: [1]", ["1:10: arrears: must be a mapping of keys to values, not a list"]),
    "no measures": ("measures: []", ["1:11: measures: needs at least 1 item, has 0"]),
    "too few buckets": (
        "arrears:\n  bucket_lower_days: [1, 2]",
        ["2:22: arrears.bucket_lower_days: needs more items than its 2"],
    ),
    "too many buckets": (
        "arrears:\n  bucket_lower_days: [1, 2, 3, 4, 5]",
        ["2:22: arrears.bucket_lower_days: needs at most 4 items, has 5"],
    ),
    "a feature among the measures": (
        "measures: [{name: m, kind: total, measure: m}]",
        [
            "1:12: measures[0].event: is missing",
            "1:28: measures[0].kind: must be count, sum, max, distinct, balance, last_seen, top or round_trips, not 'total'",
            "1:35: measures[0].measure: unknown key",
        ],
    ),
    "a missing key": ("measures:\n  - kind: count\n    name: m", ["2:5: measures[0].event: is missing"]),
    "a word of a short list": (
        "measures: [{name: m, event: purchases, kind: count}]",
        ["1:29: measures[0].event: must be repayment, purchase, transfer, instalment or usage, not 'purchases' (did you mean 'purchase'?)"],
    ),
    "an unknown field": (
        "measures: [{name: m, event: instalment, kind: count, where: [{field: outcom, in: [late]}]}]",
        [
            f"1:70: measures[0].where[0].field: must be {FIELDS}, not 'outcom' (did you mean 'outcome'?)",
        ],
    ),
    "a word for a list of words": (
        "measures: [{name: m, event: purchase, kind: count, where: [{field: category, in: groceries}]}]",
        ["1:82: measures[0].where[0].in: must be a list, not 'groceries' (write [groceries])"],
    ),
    "true among words": (
        "measures: [{name: m, event: purchase, kind: count, where: [{field: category, in: [true]}]}]",
        ["1:83: measures[0].where[0].in[0]: must be text, not true (put it in quotes)"],
    ),
    "a word too long": (
        f"measures: [{{name: m, event: purchase, kind: count, where: [{{field: category, in: [{'x' * 65}]}}]}}]",
        ["1:83: measures[0].where[0].in[0]: must have at most 64 characters"],
    ),
    "a feature without a kind": ("features:\n  - name: f", ["2:5: features[0].kind: is missing"]),
    "a feature of an unknown kind": (
        "features:\n  - {name: f, kind: totals}",
        ["2:21: features[0].kind: 'totals' is not a kind of feature (did you mean 'total'?)"],
    ),
    "a feature's misspelt key": (
        "features:\n  - {name: f, kind: total, measure: m, widow_days: 3}",
        ["2:40: features[0].widow_days: unknown key (did you mean 'window_days'?)"],
    ),
    "a key of another kind of feature": (
        "features:\n  - {name: f, kind: tenure, window_days: 3}",
        ["2:29: features[0].window_days: unknown key (known here: name, about, text, favourable_text, adverse_text, advice and kind)"],
    ),
    "a feature's missing key": (
        "features:\n  - {name: f, kind: ratio, numerator: m, window_days: 3}",
        ["2:5: features[0].denominator: is missing"],
    ),
    "a language nobody reads": (
        "features:\n  - {name: f, kind: tenure, text: {zh: 年, fr: an}}",
        ["2:43: features[0].text.fr: unknown key (known here: zh and en)"],
    ),
    "advice that goes nowhere": (
        "features:\n  - {name: f, kind: tenure, advice: {direction: up, text: {zh: 等, en: Wait}}}",
        ["2:49: features[0].advice.direction: must be raise or lower, not 'up'"],
    ),
    "advice without words": (
        "features:\n  - {name: f, kind: tenure, advice: {direction: raise, words: {zh: 等}}}",
        [
            "2:37: features[0].advice.text: is missing",
            "2:56: features[0].advice.words: unknown key (known here: direction and text)",
        ],
    ),
    "a policy in a language nobody reads": (
        "languages: [zh, fr]\nfeatures: [{name: f, kind: tenure, text: {zh: 年}}]",
        ["1:17: languages[1]: must be zh or en, not 'fr'"],
    ),
    "a scale between": (
        "features:\n  - {name: f, kind: utilisation, scale: 10}",
        ["2:41: features[0].scale: must be 1, 100 or 1000, not 10"],
    ),
    "a figure that cannot be one": (
        "features:\n  - {name: f, kind: profile, figure: Attributes.x}",
        ["2:38: features[0].figure: must be a figure of the profile, or attributes. and its name, not 'Attributes.x'"],
    ),
    "a merge key": ("version: 1\n<<: {version: 2}", ["2:1: <<: merge keys are not part of YAML 1.2 (write the fields out)"]),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_with_a_mistake(name: str) -> None:
    part, expected = PARTS[name]
    assert mistakes_in_part(part) == expected


def test_all_mistakes_at_once() -> None:
    """Of the grammar, of the fields and between the fields, in the order of the text."""
    text = """\
policy: Small
version: 1
version: 2
currency: CNY
needs_profile: yes
measures:
  - {name: m, event: purchase, kind: count, where: [{field: merchant, in: [a]}]}
  - {name: n, event: instalment, kind: sum, where: [{field: direction, in: [in]}]}
  - {name: n, event: purchase, kind: count}
features:
  - {name: f, kind: total, measure: m, window_days: 30, colour: red}
  - {name: g, kind: total, measure: n}
  - {name: h, kind: total, measure: o, window_days: 3}
  - {name: i, kind: trend, measure: m, window_hours: 3}
segments:
  - name: individual
    score_card: []
    scorecard:
      - {feature: f, bins: [{points: 0}, {at_least: 3, points: ten}], missing: 0}
      - {feature: j, bins: [{at_least: 3, points: 0}], missing: 0}
    bands:
      - {name: none, limit_minor: 0}
      - {name: some, lower: 10, limit_minor: -5}
    limits: {product_cap_minor: 0, legal_cap_minor: 0, round_to_minor: 0}
    cool_down: {up_days: 0, down_days: 0}
    initial_standing: {limit_minor: 0, band: sum}
"""
    assert mistakes(text) == [
        "1:9: policy: must be a name: a small letter first, then small letters, digits and _, at most 48 in all, not 'Small'",
        "3:1: version: this key stands twice, first in line 2",
        "5:16: needs_profile: must be true or false, not 'yes'",
        f"7:61: measures[0].where[0].field: must be {FIELDS}, not 'merchant' (did you mean 'merchant_id'?)",
        "8:61: measures[1].where[0].field: an instalment has no direction (it has amount_minor, amount_due_minor, days_late and outcome)",
        "9:12: measures[2].name: 'n' is taken by measures[1]",
        "11:57: features[0].colour: unknown key",
        "12:5: features[1].window_days: is missing: 'n' is kept by the day",
        "13:37: features[2].measure: there is no measure 'o'",
        "16:5: segments[0].base_points: is missing",
        "17:5: segments[0].score_card: unknown key (did you mean 'scorecard'?)",
        "19:64: segments[0].scorecard[0].bins[1].points: must be a whole number, not 'ten'",
        "20:19: segments[0].scorecard[1].feature: there is no feature 'j'",
        "20:40: segments[0].scorecard[1].bins[0].at_least: the first bin has no at_least: it takes all that is below the second",
        "23:46: segments[0].bands[1].limit_minor: must be at least 0, not -5",
        "24:72: segments[0].limits.round_to_minor: must be at least 1, not 0",
        "26:46: segments[0].initial_standing.band: there is no band 'sum'",
    ]


def test_what_follows_from_a_mistake_is_not_told() -> None:
    """A measure with a mistake inside is there, and what it would have been is not known."""
    text = "measures:\n  - {name: hourly, event: purchase, kind: count, tile: hours}\nfeatures:\n" + (
        "  - {name: f, kind: total, measure: hourly, window_hours: 3}\n"
    )
    assert mistakes_in_part(text) == ["2:56: measures[0].tile: must be day, hour or week, not 'hours' (did you mean 'hour'?)"]
    assert mistakes_in_part("measures:\n  - {name: m, event: purchase}\n  - {name: n, event: purchase, kind: count, of: channel}") == [
        "2:5: measures[0].kind: is missing",
        "3:49: measures[1].of: a count has no 'of' (leave it out)",
    ]
    assert mistakes_in_part("segments:\n  - name: individual") == [
        f"2:5: segments[0].{key}: is missing" for key in ("base_points", "scorecard", "bands", "limits", "cool_down")
    ]


def test_words_are_words() -> None:
    """Norway is a country, a date is text, underscores are for the eye."""
    policy = policy_of("""
        too_far_ahead_seconds: 86_400
        measures:
          - name: m
            event: purchase
            kind: count
            added_at: 2026-03-01T00:00:00Z
            where: [{field: category, in: [NO, yes, off, '1', y, 2026-03-01, 1:30, null_]}]
    """)
    assert policy.too_far_ahead_seconds == 86_400
    assert policy.measures[0].added_at == "2026-03-01T00:00:00Z"
    assert policy.measures[0].where[0].is_in == ("NO", "yes", "off", "1", "y", "2026-03-01", "1:30", "null_")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    text = completed("policy: small  # 政策").encode()
    assert parse_policy(b"\xef\xbb\xbf" + text, "x").policy == "small"
    assert mistakes("policy: x\n# 政策 ".encode() + b"\xb2\xdf\n") == ["2:6: byte 0xB2 is not UTF-8 (save the file as UTF-8)"]
    assert mistakes(text.decode().encode("utf-16")) == ["1:1: byte 0xFF is not UTF-8 (save the file as UTF-8)"]
    assert mistakes(text + b"#" * BYTES_MAX) == ["1:1: the document has more than 512 KiB"]
    assert policy_of("policy: small\r\nversion: 1\r").version == 1


def test_files(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match=r"nowhere\.yaml: cannot be read: No such file or directory"):
        load_policy(tmp_path / "nowhere.yaml")
    file = tmp_path / "small.yaml"
    file.write_text(completed("policy: small"), "utf-8")
    assert load_policy(file) == load_policy(str(file)) == policy_of("policy: small")
    file.write_text("policy: 1", "utf-8")
    with pytest.raises(PolicyErrors) as found:
        load_policy(file)
    first = found.value.errors[0]
    assert (first.path, first.line, first.column, first.where) == (str(file), 1, 1, "version")
    assert str(found.value).splitlines() == [str(error) for error in found.value.errors]


def test_json() -> None:
    """JSON is YAML, and keeps its lines; plain data has none."""
    policy = policy_of("policy: small")
    assert parse_policy(canonical_bytes(policy), "x.json") == policy
    plain = json.loads(canonical_bytes(policy))
    assert parse_policy(json.dumps(plain, indent="\t").encode(), "x.json") == policy
    assert from_plain(plain, "limit-control") == policy
    plain["segments"][0]["bands"][0]["lower"] = 5
    plain["verson"] = plain.pop("version")
    with pytest.raises(PolicyErrors) as found:
        from_plain(plain, "limit-control")
    assert {str(error) for error in found.value.errors} == {
        "limit-control: version: is missing",
        "limit-control: verson: unknown key (did you mean 'version'?)",
        "limit-control: segments[0].bands[0].lower: the lowest band has no lower: it takes every score below the second",
    }
    nothing: tuple[object, ...] = (None, [], "policy", 5)
    for value in nothing:
        with pytest.raises(PolicyErrors, match="limit-control: must be a mapping"):
            from_plain(value, "limit-control")


def test_what_is_read_is_the_document() -> None:
    policy = policy_of("policy: small")
    assert isinstance(policy, Policy)
    assert (policy.policy, policy.version, policy.currency, policy.default_segment) == ("small", 1, "CNY", "individual")
