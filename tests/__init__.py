"""Tests: the oracle and what is compared with it."""
