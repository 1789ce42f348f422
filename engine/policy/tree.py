"""A YAML text as plain data that knows the line and column of every key and value.

Only the composer of ruamel.yaml is used: what a scalar means is decided here, by YAML 1.2 and nothing else. ``true`` and ``false`` are the only
booleans (``NO`` is Norway, ``yes`` is a word), a date is text, numbers may carry underscores. JSON is read as well, being YAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from engine.policy.errors import Path, Place, Problem

NODES_MAX: Final = 100_000
DEPTH_MAX: Final = 30
DIGITS_MAX: Final = 1000  # Python does not read numbers of any length

_TAG: Final = "tag:yaml.org,2002:"
_STANDARD_TAGS: Final = frozenset(_TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge"))
_WHOLE: Final = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_FRACTION: Final = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?|[-+]?[0-9]+\.")
_CONSTANTS: Final[dict[str, bool | None]] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
}


class YamlError(Exception):
    """A text that is no YAML document at all."""

    def __init__(self, place: Place, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.place, self.message, self.hint = place, message, hint


@dataclass
class Tree:
    """Plain data, the place of every key and value by path, and what is wrong with the text beyond its grammar."""

    plain: object = None
    problems: list[Problem] = field(default_factory=list)
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    doubles: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Of the value at ``path``; of what encloses it where there is none."""
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))

    def place_of_key(self, path: Path) -> Place:
        """Of the key that ends ``path``; of the second one if the key stands twice."""
        return self.doubles.get(path) or self.keys.get(path) or self.place(path)


def read_tree(text: str) -> Tree:
    """Compose one YAML document. Raises YamlError."""
    tree = Tree()
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        if root is not None:
            tree.plain = _Reader(tree).value(root, (), None)
    except MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except ReaderError as error:
        place = _place_at(text, error.position)
        raise YamlError(place, f"the character U+{ord(text[error.position]):04X} may not stand in YAML") from None
    except RecursionError:
        raise YamlError(Place(1, 1), "the document is nested too deeply") from None
    return tree


class _Reader:
    """Turns nodes into plain data and notes where they stand."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.nodes = 0

    def value(self, node: Node, path: Path, key: Place | None) -> object:
        """The plain value of ``node``; ``key`` is the place of its key."""
        place = _place_of(node)
        in_block = isinstance(node, MappingNode | SequenceNode) and not node.flow_style
        is_empty = isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index
        self.tree.values[path] = key if key is not None and (in_block or is_empty) else place
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise YamlError(place, f"the document has more than {NODES_MAX} values once its aliases are written out")
        if len(path) > DEPTH_MAX:
            raise YamlError(place, "the document is nested too deeply")
        if str(node.tag) not in _STANDARD_TAGS:
            self.tree.problems.append(Problem(path, f"the tag {node.tag} is not known here", "leave it out"))
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, i), None) for i, item in enumerate(node.value)]
        return _scalar(node)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        """A mapping with text keys, each once (the first of equals)."""
        plain: dict[str, object] = {}
        for key_node, value_node in node.value:
            place = _place_of(key_node)
            if not isinstance(key_node, ScalarNode):
                self.tree.problems.append(Problem(path, f"the key in line {place.line} is not a word"))
                continue
            here = (*path, key_node.value)
            if str(key_node.tag) == _TAG + "merge":
                self.tree.doubles[here] = place
                self.tree.problems.append(Problem(here, "merge keys are not part of YAML 1.2", "write the fields out"))
            elif here in self.tree.keys:
                self.tree.doubles[here] = place
                self.tree.problems.append(Problem(here, f"this key stands twice, first in line {self.tree.keys[here].line}"))
            else:
                self.tree.keys[here] = place
                plain[key_node.value] = self.value(value_node, here, place)
        return plain


def _scalar(node: Node) -> object:
    text: str = node.value
    tag = str(node.tag)
    if tag == _TAG + "str":
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WHOLE.fullmatch(text) and len(text) <= DIGITS_MAX:
        return int(text)
    if tag == _TAG + "float" and _FRACTION.fullmatch(text):
        return float(text)
    return text


def _place_of(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _place_at(text: str, index: int) -> Place:
    return Place(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _syntax_error(error: MarkedYAMLError, text: str) -> YamlError:
    mark: StringMark | None = error.problem_mark or error.context_mark
    place = Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
    problem = error.problem or error.context or "this is not YAML"
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return YamlError(place, "a tab may not indent YAML", "use spaces")
    if "another document" in problem:
        return YamlError(place, "a second document begins here", "one file holds one policy")
    if "mapping values are not allowed" in problem:
        return YamlError(place, "a second ': ' in one line", "put the text in quotes, or begin a new line")
    if "undefined alias" in problem:
        return YamlError(place, f"{problem.removeprefix('found ')}")
    begun = error.context_mark
    since = f", {error.context} that begins in line {begun.line + 1}" if error.context and begun is not None and mark is not begun else ""
    return YamlError(place, f"not valid YAML: {problem}{since}")
