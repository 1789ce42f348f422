"""A steady load: events of a fixed set of accounts, of the present, at a set rate: ``python -m tests.chaos.load`` until SIGTERM.

Which account is next is drawn from the seed. Prints in the end how many records have arrived.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from random import Random
from typing import Final

from engine.stream.decode.misrouting import partition_of
from scripts.benchmark.load import event
from scripts.spoil import Arrival
from scripts.traffic import Publisher, at_rate

FLOOD_POOL: Final = 20_000


def accounts(prefix: str, many: int, shard: int | None, partitions: int) -> list[str]:
    """So many accounts, all of one shard if that is asked for."""
    names = (f"{prefix}-{number:06d}" for number in count())
    wanted = (name for name in names if shard is None or partition_of(name.encode(), partitions) == shard)
    return [next(wanted) for _ in range(many)]


def arrivals(names: Sequence[str], seed: int) -> Iterator[Arrival]:
    """For ever: each account once, then any."""
    rng = Random(f"{seed}/steady")
    for number in count():
        name = names[number] if number < len(names) else names[rng.randrange(len(names))]
        yield event(rng, number, name, int(time.time() * 1000))


def flood(names: Sequence[str], seed: int) -> Iterator[Arrival]:
    """Likewise, but made faster than an engine takes them: the same events over and over, under other ids."""
    pool = [(made, made.value.partition(b",")[2]) for made in islice(arrivals(names, seed), FLOOD_POOL)]
    for number in count(FLOOD_POOL):
        made, rest = pool[number % FLOOD_POOL]
        yield Arrival(int(time.time() * 1000), number, made.topic, made.key, b'{"event_id":"e-%09d",%b' % (number, rest))


def main() -> None:
    """Publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--prefix", required=True, help="of the accounts' ids")
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--shard", type=int, help="whose accounts they are (default: any)")
    parser.add_argument("--rate", type=float, default=0.0, help="records a second; 0: as fast as it goes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    names = accounts(options.prefix, options.accounts, options.shard, options.partitions)
    publisher, sent = Publisher(options.kafka), 0
    try:
        for portion in at_rate((arrivals if options.rate else flood)(names, options.seed), options.rate):
            for arrival in portion:
                publisher.publish(arrival)
                sent += 1
            publisher.poll()
    finally:
        publisher.settle()
        print(json.dumps({"records": sent}), flush=True)


if __name__ == "__main__":
    main()
