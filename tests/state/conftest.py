"""A Redis Cluster for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters that run."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), with_replicas=False)
    cluster.start()
    yield cluster
    cluster.stop()
