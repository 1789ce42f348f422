"""Where the local servers keep things."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """The engine's directory among the user's caches: ``$XDG_CACHE_HOME`` where set, else the platform's own place."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(configured):  # a relative one is to be ignored, says the XDG specification
        base = Path(configured)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "credit-limit-engine"


def default_data_dir() -> Path:
    """Where ``local up`` keeps its data unless told otherwise."""
    return cache_dir() / "local"
