"""Write the JSON Schemas of all topics to ``schemas/generated``; with ``--check`` say instead whether they are current.

python -m scripts.export_schemas [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from schemas.common import one_schema
from schemas.topics import TOPICS

FOLDER: Final = Path(__file__).resolve().parent.parent / "schemas" / "generated"


def rendered() -> dict[str, str]:
    """File name and text of each topic's schema."""
    texts = {}
    for topic in TOPICS:
        if topic.model is not None:
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": topic.name} | one_schema(topic.model)
            texts[f"{topic.name}.json"] = json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return texts


def main() -> int:
    """Write or check; exit code 1 when something is stale."""
    texts = rendered()
    held = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.json"))}
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in texts.keys() | held.keys() if texts.get(name) != held.get(name))
        for name in stale:
            print(f"schemas/generated/{name} is stale: run python -m scripts.export_schemas", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name in held.keys() - texts.keys():
        (FOLDER / name).unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
