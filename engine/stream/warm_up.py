"""Everything compiled is compiled (or read from its cache on disk) before it is needed: a first batch must not wait for it.

Theory of operation. Machine code is kept on disk as soon as it is made, and looked for there before it is made. So the first time two processes
share the work: one makes the kernels for events and for sweeps, the other what reads and writes. They are processes of their own also because
the compiler keeps some 250 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from engine.core.decide import EMISSIONS_MAX, look, run, sweep
from engine.core.fingerprint import FingerprintKey
from engine.core.jit import cache_mark
from engine.core.layout import DAY_MS, EVENT_COLUMNS, FIGURES, Col, Topic
from engine.core.packed import Packed, padded, within_distinct
from engine.core.record_batch import varint
from engine.core.rows import blank_row
from engine.core.tables import FACTS, Ints
from engine.errors import EngineError
from engine.policy.compile import CompiledPolicy, compile_policy
from engine.policy.document import Policy
from engine.policy.promote import promote
from engine.state.cache import AccountCache, Room
from engine.state.index import remove
from engine.state.state_cache import StateCache
from engine.state.states import asked_for
from engine.stream.decode.columns import epoch_ms
from engine.stream.decode.decoder import Decoder
from engine.stream.decode.misrouting import partition_of
from engine.stream.offline import EPOCH, activation, decide, log_record
from engine.stream.record_batches import columns_of
from engine.stream.records import Chunk
from engine.stream.render import TICK, Causes, Renderer
from engine.stream.written_batches import written_batches
from schemas.common import parse_instant

KEY: Final = FingerprintKey.from_hex("00" * 16)
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
PURCHASES: Final = tuple(
    json.dumps(
        {
            "event_id": event_id,
            "account_id": account,
            "occurred_at": AT,
            "currency": "CNY",
            "amount_minor": 1,
            "category": "c",
            "channel": "c",
            "merchant_id": "m",
            "funded_by": "own",
        }
    ).encode()
    for event_id, account in (("1", "a"), ("2", "b"), ("3", "a"))
)


def warm_up() -> None:
    """See above. Raises EngineError."""
    mark = cache_mark()
    if not mark.exists():
        compile_beside()
    decide_some()
    mark.touch()


def compile_beside() -> None:
    """Let two processes compile. Raises EngineError."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen([sys.executable, "-m", __spec__.name, part], env=environment) for part in PARTS]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise EngineError(
            f"compiling the decision kernel has failed: its processes ended with {codes}",
            where=str(cache_mark().parent),
            cure="see what they said above; there must be room and the right to write, and about 500 MB of memory for each",
        )


def decide_some() -> None:
    """Decide three records of two accounts with a cache of one, so that states are written and read back too, and let a day go by; and write what
    the journal and Redis would get."""
    records = [activation(Policy.from_plain(POLICY)), *(log_record(Topic.PURCHASE, offset, raw) for offset, raw in enumerate(PURCHASES, 1))]
    day_after = epoch_ms(parse_instant(AT)) + DAY_MS
    for record in decide(records, KEY, "warm-up", cache_accounts=1, until_ms=day_after):
        record.encode()
        record.accounts.by_bucket()
        asked_for(record.accounts.ids)
    columns_of(Topic.PURCHASE, [])
    use_seldom_used()


def use_seldom_used() -> None:
    """What not every batch needs."""
    varint(padded(), 0, 1)
    partition_of(b"a", 1)
    within_distinct(Packed.of([b"a"]).hashes(), 1, np.zeros(2, np.uint64))
    remove(np.zeros(2, np.int64), np.zeros(1, np.uint64), 0)
    StateCache(0).make_room()


def compile_kernels(policy: CompiledPolicy, rows: Ints, decisions: Ints) -> None:
    """The kernels for events, for sweeps, and for looking at an account: by taking no event, sweeping nobody, and an account without history."""
    none, facts = np.zeros(0, np.int64), np.zeros(FACTS, np.int64)
    events, profiles = np.zeros((EVENT_COLUMNS, 0), np.int64), np.zeros((0, FIGURES), np.int64)
    run(policy.program, rows, events, none, profiles, 0, decisions, none, facts)
    sweep(policy.program, rows, none, 0, 0, facts, decisions)
    look(policy.program, rows[0], 0, facts, np.zeros((EMISSIONS_MAX, policy.decision_columns), np.int64), decisions)


def compile_rest(policy: CompiledPolicy, rows: Ints, decisions: Ints) -> None:
    """What reads records, and holds, writes and reads accounts."""
    cache, accounts = AccountCache(policy, Room(1, 1_000)), Packed.of([b"a"])
    values = Packed.of([None])
    for _ in range(2):
        cache.begin()
        slots = cache.take(accounts, np.ones(1, np.bool_))
        cache.recall()
        cache.admit(values)
        cache.rows[slots, Col.CLOCK] = 0
        states = cache.written(slots)
        values = states.values
        cache.forget()
    states.as_msgpack()
    states.by_bucket()
    asked_for(accounts)
    causes = Causes(np.full(1, TICK), np.zeros(1, np.int64), accounts, np.zeros(1, np.int64))
    list(written_batches(Renderer(policy, "warm-up", 0).render(decisions, accounts, causes, 1), (), 0))
    Decoder(policy.decode, KEY, 0, 1).decode(Chunk.of(Topic.PURCHASE, [0], [0], accounts, [PURCHASES[0]]))
    columns_of(Topic.PURCHASE, [])
    use_seldom_used()


PARTS: Final[dict[str, Callable[[CompiledPolicy, Ints, Ints], None]]] = {"kernels": compile_kernels, "rest": compile_rest}


def main(part: str) -> None:
    """Compile one of the parts."""
    policy = compile_policy(promote(Policy.from_plain(POLICY), None, EPOCH), KEY)
    PARTS[part](policy, blank_row(policy.layout).reshape(1, -1), np.zeros((1, policy.decision_columns), np.int64))


if __name__ == "__main__":
    main(sys.argv[1])
