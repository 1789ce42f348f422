"""A Redis Cluster on this machine: three masters, each with a replica."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from engine.local.ports import LOOPBACK, choose_port
from engine.local.redis_server import RedisServer, valkey_program
from engine.state.keys import ShardKeys

SLOTS: Final = 16384
MASTERS: Final = 3
NODE_TIMEOUT_MS: Final = 2_000


class ClusterServer(RedisServer):
    """A member of a cluster."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, program=valkey_program())
        self.bus_port = 0

    def ask(self, *words: object) -> Any:
        """The answer to a command."""
        with redis.Redis(LOOPBACK, self.port, decode_responses=True, socket_timeout=5) as client:
            return client.execute_command(*words)

    def _command(self) -> list[str]:
        self.bus_port = choose_port(self.bus_port, service=self.name, option="bus")
        settings = {"enabled": "yes", "node-timeout": NODE_TIMEOUT_MS, "require-full-coverage": "no", "port": self.bus_port}
        words = [word for name, value in settings.items() for word in (f"--cluster-{name}", str(value))]
        return [*super()._command(), *words, "--repl-diskless-sync-delay", "0"]


class Cluster:
    """The first three servers begin as masters; each of the others, where there are replicas, as the replica of one."""

    bounds: Final = [n * SLOTS // MASTERS for n in range(MASTERS + 1)]

    def __init__(self, directory: Path, *, with_replicas: bool) -> None:
        self.servers = [ClusterServer(directory / f"redis-{n}") for n in range(2 * MASTERS if with_replicas else MASTERS)]
        self._client: RedisCluster | None = None

    def start(self) -> None:
        """Start them, and wait until every slot is served and every replica follows."""
        first = self.servers[0]
        for epoch, server in enumerate(self.servers, 1):
            server.start()
            server.ask("CLUSTER SET-CONFIG-EPOCH", epoch)
            if server is not first:
                server.ask("CLUSTER MEET", LOOPBACK, first.port, first.bus_port)
        for n in range(MASTERS):
            self.servers[n].ask("CLUSTER ADDSLOTSRANGE", self.bounds[n], self.bounds[n + 1] - 1)
        _wait(lambda: all(len(server.ask("CLUSTER NODES")) == len(self.servers) for server in self.servers), "all know each other")
        for n, replica in enumerate(self.servers[MASTERS:]):
            replica.ask("CLUSTER REPLICATE", self.servers[n].ask("CLUSTER MYID"))
        _wait(lambda: all(server.ask("CLUSTER INFO")["cluster_state"] == "ok" for server in self.servers), "every slot is served")
        _wait(lambda: all(s.ask("INFO", "replication")["master_link_status"] == "up" for s in self.servers[MASTERS:]), "replicas follow")

    def stop(self) -> None:
        """End them all."""
        if self._client is not None:
            self._client.close()
        for server in self.servers:
            server.stop()

    def fields(self, application: str, shard: int) -> dict[str, bytes]:
        """A shard's hash, by redis-py's own cluster client; empty while there is no answer."""
        try:
            if self._client is None:
                nodes = [ClusterNode(LOOPBACK, server.port) for server in self.servers]  # type: ignore[no-untyped-call]
                self._client = RedisCluster(startup_nodes=nodes, socket_timeout=5)
            held: Any = self._client.hgetall(ShardKeys(application, shard).shard)
        except redis.RedisError:
            return {}
        return {name.decode(): value for name, value in held.items()}

    def shards_of(self, n: int, application: str, partitions: int) -> list[int]:
        """The shards that the n-th master begins with."""
        slots = [key_slot(ShardKeys(application, shard).shard) for shard in range(partitions)]
        return [shard for shard, slot in enumerate(slots) if self.bounds[n] <= slot < self.bounds[n + 1]]


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.05)
