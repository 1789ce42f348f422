"""Everything compiled is compiled (or read from its cache on disk) before it is needed: a first batch must not wait for it."""

from __future__ import annotations

import json
from typing import Any, Final

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import DAY_MS, Topic
from engine.policy.document import Policy
from engine.stream.decode.columns import epoch_ms
from engine.stream.offline import activation, decide, log_record
from schemas.common import parse_instant

AT: Final = "2026-01-01T00:00:00Z"
POLICY: Final[dict[str, Any]] = {
    "policy": "warm_up",
    "version": 1,
    "currency": "CNY",
    "needs_profile": False,
    "measures": [{"name": "spent", "event": "purchase", "kind": "sum"}],
    "features": [{"name": "spent_7d", "kind": "total", "measure": "spent", "window_days": 7}],
    "segments": [
        {
            "name": "individual",
            "base_points": 0,
            "scorecard": [{"feature": "spent_7d", "bins": [{"points": 1}], "missing": 0}],
            "bands": [{"name": "only", "limit_minor": 100}],
            "limits": {"product_cap_minor": 100, "legal_cap_minor": 100, "round_to_minor": 1},
            "cool_down": {"up_days": 0, "down_days": 0},
            "initial_standing": {"limit_minor": 0, "band": "only"},
        }
    ],
}


def warm_up() -> None:
    """Decide three records of two accounts with a cache of one, so that states are written and read back too, and let a day go by; and write what
    the journal and Redis would get."""
    common = {
        "occurred_at": AT,
        "currency": "CNY",
        "amount_minor": 1,
        "category": "c",
        "channel": "c",
        "merchant_id": "m",
        "funded_by": "own",
    }
    records = [activation(Policy.from_plain(POLICY))]
    for offset, account in enumerate(("a", "b", "a"), 1):
        value = common | {"event_id": str(offset), "account_id": account}
        records.append(log_record(Topic.PURCHASE, offset, json.dumps(value).encode()))
    day_after = epoch_ms(parse_instant(AT)) + DAY_MS
    for record in decide(records, FingerprintKey.from_hex("00" * 16), "warm-up", cache_accounts=1, until_ms=day_after):
        record.encode()
        record.accounts.by_bucket()
