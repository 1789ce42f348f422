"""What the simulated Kafka says that its topics are."""

from __future__ import annotations

from typing import Final

from engine.stream.topics import IDENTIFIED, Identity
from tests.simulation.network import Network

AT_START: Final = Identity(dict.fromkeys(IDENTIFIED, 1), {name: f"id-of-{name}" for name in IDENTIFIED})


class SimulatedTopics:
    """Topics that stay what they are, as far as the simulated Kafka answers."""

    def __init__(self, network: Network) -> None:
        self.at_start = AT_START
        self._network = network

    async def confirmed(self) -> None:
        """See ``Topics``."""
        await self._network.call("kafka", "DescribeTopics", lambda: None, 5.0)
