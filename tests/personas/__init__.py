"""The synthetic customers live under the default policy."""
