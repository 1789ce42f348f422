"""The credit-limit engine: from behaviour events to explained limit changes."""
