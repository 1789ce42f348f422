"""The same accounts in more partitions: every state as it was, in the shard of its key; numbers go on; killed in the middle, it is done again."""

from __future__ import annotations

import json

from engine.local.redis_server import RedisServer
from engine.state import keys
from engine.stream import topics
from engine.stream.decode.misrouting import partition_of
from engine.stream.topics import described
from schemas.topics import TOPICS
from tests.e2e.deployment import Deployment
from tests.e2e.publisher import Publisher
from tests.e2e.recovery.lived import goes_on

BEFORE, AFTER, THEN = 3, 5, 6


def test_what_was_not_taken_is_taken_first(lived: Deployment) -> None:
    publisher = Publisher(lived, "steady_payer-000001")
    publisher.publish_good()
    publisher.flush()
    told = lived.command("reshard", "--partitions", str(AFTER), "--yes")
    assert told.returncode == 2
    assert f"shard {publisher.partition}: purchases has records that were not taken yet" in told.stderr
    assert {state.partitions for state in described(lived.kafka.settings)} == {BEFORE}
    worker = lived.start_worker()
    lived.wait(lived.is_all_taken, "everything is taken", 120)
    told = lived.command("reshard", "--partitions", str(AFTER), "--yes")
    assert (told.returncode, "1 worker of 'limits' work" in told.stderr) == (2, True)
    worker.stop(20)


def test_more_partitions(lived: Deployment, second: RedisServer) -> None:
    """Broken off after the topics have grown; a worker refuses; then done."""
    lived.run_consumer_to_the_end()
    assert lived.command("follow", "--to", second.url, "--once").returncode == 0
    before = {account: value for shard in range(BEFORE) for account, value in lived.accounts(shard).items()}
    fields = [lived.fields(shard) for shard in range(BEFORE)]
    admin = topics.connect(lived.kafka.settings)
    admin.create_partitions({spec.name: AFTER for spec in TOPICS[:7]})  # all but three: a run that was killed early
    admin.close()
    lived.wait(lambda: {state.partitions for state in described(lived.kafka.settings)} == {BEFORE, AFTER}, "they have grown", 30)

    done = lived.command("reshard", "--partitions", str(AFTER), "--yes", "--json", within_s=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["before"], told["after"], told["moved"] + told["stayed"]) == (BEFORE, AFTER, len(before))
    assert {state.partitions for state in described(lived.kafka.settings)} == {AFTER}
    lived.partitions = AFTER
    after = {shard: lived.accounts(shard) for shard in range(AFTER)}
    assert {account: value for held in after.values() for account, value in held.items()} == before
    assert sum(map(len, after.values())) == len(before)
    assert all(partition_of(account, AFTER) == shard for shard, held in after.items() for account in held)
    now = [lived.fields(shard) for shard in range(AFTER)]
    assert [held[keys.PARTITIONS] for held in now] == [b"%d" % AFTER] * AFTER
    assert {held[keys.POLICY] for held in now} == {fields[0][keys.POLICY]}
    assert [held[keys.OUTPUTS] for held in now] == [*(held[keys.OUTPUTS] for held in fields), b"0", b"0"]
    assert all(int(new[keys.SEQUENCE]) > int(old[keys.SEQUENCE]) for old, new in zip(fields, now, strict=False))
    # Who followed the old layout follows the new one.
    assert lived.command("follow", "--to", second.url, "--once").returncode == 0
    assert lived.command("state", "digest", "--against", second.url).returncode == 0
    # Once more there is nothing to do.
    again = lived.command("reshard", "--partitions", str(AFTER), "--yes", "--json")
    assert json.loads(again.stdout)["was_done"] is True

    fewer = lived.command("reshard", "--partitions", "4", "--yes")
    assert (fewer.returncode, "Kafka cannot take any away" in fewer.stderr) == (2, True)

    goes_on(lived)
    lived.run_consumer_to_the_end()
    newest = {c["account_id"]: c for found in lived.changes().values() for c in found}
    held = lived.consumed()
    assert held.keys() == newest.keys()
    assert all(held[account]["sequence"] >= change["sequence"] for account, change in newest.items())
    # The history of an account lies in two partitions.
    by_shard = [{change["account_id"] for change in found} for found in lived.changes().values()]
    moved = set().union(*by_shard[:BEFORE]) & set().union(*by_shard[BEFORE:])
    account = min(moved)
    told_again = lived.command("account", "history", account, "--json").stdout.splitlines()
    sequences = [json.loads(line)["sequence"] for line in told_again]
    assert sequences == list(range(1, held[account]["sequence"] + 1))


def test_killed_while_it_is_written(lived: Deployment) -> None:
    """Killed when the topics have grown: nothing has changed but that, a worker refuses, and it is run again."""
    before = {account: value for shard in range(AFTER) for account, value in lived.accounts(shard).items()}
    killed = lived.run("-m", "engine", "reshard", "--partitions", str(THEN), "--yes", log="reshard.log")
    lived.wait(lambda: {state.partitions for state in described(lived.kafka.settings)} == {THEN}, "the topics have grown", 120)
    killed.kill()
    number, stopped = len(lived.workers), '"event": "stopped"'
    worker = lived.start_worker()
    lived.wait(lambda: stopped in lived.log_of(number) or '"event": "caught up"' in lived.log_of(number), "a worker looks", 120)
    worker.stop(20)
    is_early = stopped in lived.log_of(number)
    assert not is_early or "limit-engine reshard" in lived.log_of(number)
    done = lived.command("reshard", "--partitions", str(THEN), "--yes", "--json", within_s=120)
    assert done.returncode == 0, done.stderr
    lived.partitions = THEN
    after = {account: value for shard in range(THEN) for account, value in lived.accounts(shard).items()}
    assert after == before if is_early else after.keys() == before.keys()  # the worker went on if it was killed after the commit
