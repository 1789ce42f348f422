"""``python -m engine`` is ``limit-engine``."""

from engine.cli.main import main

main()
