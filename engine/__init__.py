"""The credit-limit engine: from behaviour events to explained limit changes."""

__version__ = "0.1.0"
