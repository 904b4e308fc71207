"""Every regular expression of the product, and how many steps a backtracking matcher takes for one.

The matcher does what `sre` does, in its order and without its short cuts, and counts; so growth can be told from two
lengths, the same on every machine.
"""

import ast
import functools
import importlib
import re
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "storage", "tasks", "flows", "dashboards")
FUNCTIONS = frozenset(
    {"compile", "match", "search", "fullmatch", "findall", "finditer", "sub", "subn", "split"}
)
ANCHORED = frozenset({"match", "fullmatch"})
ALPHABET = string.printable + "\0\x7fé中−’“”。！「」…\u0301\U0001f600"


@dataclass(frozen=True)
class Regex:
    """A pattern, where it stands, and by which of `re`'s functions it is used."""

    where: str
    pattern: str | bytes
    flags: int
    uses: frozenset[str]

    @property
    def is_anchored(self) -> bool:
        return bool(self.uses) and self.uses <= ANCHORED


@dataclass(frozen=True)
class Site:
    """A call of one of `re`'s functions: where, which, its pattern if it is written there, and what it is bound to."""

    module: str
    line: int
    function: str
    pattern: ast.expr
    name: str

    @property
    def where(self) -> str:
        return f"{self.module}:{self.line}"


@functools.cache
def sources() -> tuple[tuple[str, str], ...]:
    """Return (module, text) of every module of the product."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths
    ]
    return tuple(zip(names, (path.read_text() for path in paths), strict=True))


def sites() -> Iterator[Site]:
    """Yield every call of `re.<function>` in the product."""
    for module, text in sources():
        if "re." not in text:
            continue
        tree = ast.parse(text)
        bound = {
            id(inner): statement.targets[0].id
            for statement in tree.body
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            for inner in ast.walk(statement.value)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in FUNCTIONS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
            ):
                yield Site(module, node.lineno, node.func.attr, node.args[0], bound.get(id(node), ""))


def imports_of_re() -> Iterator[str]:
    """Yield every import that would bring `re`'s functions in under another name, or another engine."""
    for module, text in sources():
        if not re.search(r"\b(?:from|import)\s+(?:re|regex|re2)\b", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module in ("re", "regex", "re2"):
                yield f"{module}:{node.lineno}"
            if isinstance(node, ast.Import):
                for name in node.names:
                    if name.name in ("regex", "re2") or (name.name == "re" and name.asname):
                        yield f"{module}:{node.lineno}"


def regexes() -> tuple[list[Regex], list[Site]]:
    """Return every pattern, and the sites whose pattern could not be had."""
    found: list[Regex] = []
    lost: list[Site] = []
    for site in sites():
        module = importlib.import_module(site.module)
        if site.function == "compile" and site.name:
            compiled = list(_compiled(vars(module)[site.name]))
            uses = _uses(site.name)
            found += [Regex(f"{site.where} {site.name}", one.pattern, one.flags, uses) for one in compiled]
            if not compiled:
                lost.append(site)
            continue
        pattern = _written(site.pattern, vars(module))
        if pattern is None:
            lost.append(site)
        else:
            uses = frozenset() if site.function == "compile" else frozenset({site.function})
            found.append(Regex(site.where, pattern, 0, uses))
    unique = {(one.pattern, one.flags, one.uses): one for one in found}
    return list(unique.values()), lost


def _compiled(value: Any) -> Iterator["re.Pattern[Any]"]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _compiled(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _compiled(inner)


def _written(node: ast.expr, names: dict[str, Any]) -> str | bytes | None:
    """Return a pattern that a call writes out; names of the module are filled in, others stand for a word."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
        return node.value
    if isinstance(node, ast.Name):
        value = names.get(node.id)
        return value.pattern if isinstance(value, re.Pattern) else value if isinstance(value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                parts.append(str(part.value))
            elif isinstance(part, ast.FormattedValue):
                parts.append(_written(part.value, names) or "word")
        return "".join(parts)
    return None


def _uses(name: str) -> frozenset[str]:
    """Return the methods by which a compiled pattern of this name is used anywhere in the product."""
    used: set[str] = set()
    for _, text in sources():
        if name in text:
            used |= set(re.findall(rf"\b{name}(?:\[[^\]]*\])?\.(\w+)\(", text))
    return frozenset(used & FUNCTIONS)


class Costly(Exception):
    """More steps than anybody would wait for."""


class Matcher:
    """Matches by backtracking and counts steps."""

    def __init__(self, regex: Regex, *, most: int = 100_000, bound: int = 3) -> None:
        tree = parser.parse(
            regex.pattern, regex.flags & ~re.UNICODE if isinstance(regex.pattern, bytes) else regex.flags
        )
        self.flags = int(tree.state.flags)
        self.anchored = regex.is_anchored
        self.whole = regex.uses == {"fullmatch"}
        self.nodes = _plain(tree)
        self._taken: dict[tuple[int, str], bool] = {}
        self.most = most
        self.bound = bound  # what {0,300} is taken for: it costs a factor and changes no growth, but hides it in short texts

    def steps(self, text: str) -> int:
        """Return the steps it takes to find all matches (the only one, if it is anchored) in `text`."""
        self.spans(text)
        return self.count

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the matches are that are not empty; of an anchored pattern, the first alone."""
        self.text, self.count, self.groups = text, 0, {}
        found, position = [], 0
        while position <= len(text):
            end = self._first(position)
            if end is not None and end > position:
                found.append((position, end))
            if self.anchored:
                break
            position = position + 1 if end is None or end == position else end
        return found

    def _first(self, position: int) -> int | None:
        self.groups = {}
        for end in self._sequence(self.nodes, 0, position):
            if not self.whole or end == len(self.text):
                return end
        return None

    def _step(self) -> None:
        self.count += 1
        if self.count > self.most:
            raise Costly

    def _sequence(self, nodes: list[Any], index: int, at: int) -> Iterator[int]:
        if index == len(nodes):
            yield at
            return
        for end in self._node(nodes[index], at):
            yield from self._sequence(nodes, index + 1, end)

    def _node(self, node: Any, at: int) -> Iterator[int]:  # noqa: PLR0912
        self._step()
        code, argument = node
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from self._repeat(code, *argument, at)
        elif code is codes.SUBPATTERN:
            group, _, _, body = argument
            for end in self._sequence(body, 0, at):
                if group is not None:
                    self.groups[group] = self.text[at:end]
                yield end
        elif code is codes.BRANCH:
            for branch in argument[1]:
                self._step()
                yield from self._sequence(branch, 0, at)
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            direction, width, body = argument
            start = at if direction > 0 else at - width
            found = start >= 0 and next(self._sequence(body, 0, start), None) is not None
            if found == (code is codes.ASSERT):
                yield at
        elif code is codes.ATOMIC_GROUP:
            end = next(self._sequence(argument, 0, at), None)
            if end is not None:
                yield end
        elif code is codes.AT:
            if self._at(argument, at):
                yield at
        elif code is codes.GROUPREF:
            said = self.groups.get(argument, "")
            if self.text.startswith(said, at):
                yield at + len(said)
        elif at < len(self.text) and self._takes(node, self.text[at]):
            yield at + 1

    def _repeat(self, code: Any, low: int, high: int, body: Any, at: int) -> Iterator[int]:
        if high < codes.MAXREPEAT:
            high = min(high, max(low, self.bound))
        if len(body) == 1 and body[0][0] in _SINGLE:
            end = at
            while end < len(self.text) and end - at < high and self._takes(body[0], self.text[end]):
                self._step()
                end += 1
            ends = range(end, at + low - 1, -1) if code is not codes.MIN_REPEAT else range(at + low, end + 1)
            for one in ends[:1] if code is codes.POSSESSIVE_REPEAT else ends:
                self._step()
                yield one
            return
        found = self._times(code, low, high, body, at, 0)
        if code is codes.POSSESSIVE_REPEAT:
            end = next(found, None)
            if end is not None:
                yield end
        else:
            yield from found

    def _times(self, code: Any, low: int, high: int, body: list[Any], at: int, done: int) -> Iterator[int]:
        if code is codes.MIN_REPEAT and done >= low:
            yield at
        if done < high:
            for end in self._sequence(body, 0, at):
                if end > at or done < low:
                    yield from self._times(code, low, high, body, end, done + 1)
        if code is not codes.MIN_REPEAT and done >= low:
            yield at

    def _at(self, what: Any, at: int) -> bool:
        text, multiline = self.text, self.flags & re.MULTILINE
        if what in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING, codes.AT_BEGINNING_LINE):
            return at == 0 or bool((multiline or what is codes.AT_BEGINNING_LINE) and text[at - 1] == "\n")
        if what is codes.AT_END_STRING:
            return at == len(text)
        if what in (codes.AT_END, codes.AT_END_LINE):
            return at == len(text) or text[at:] == "\n" or bool(multiline and text[at] == "\n")
        word = [0 <= i < len(text) and (text[i].isalnum() or text[i] == "_") for i in (at - 1, at)]
        return (word[0] != word[1]) == (what is codes.AT_BOUNDARY)

    def _takes(self, node: Any, character: str) -> bool:
        key = (id(node), character)
        if key not in self._taken:
            self._taken[key] = takes(node, character, self.flags)
        return self._taken[key]


def _plain(nodes: Any) -> list[Any]:
    """Return a parsed pattern as lists and tuples: quicker to walk."""
    found = []
    for code, argument in nodes:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            argument = (int(argument[0]), int(argument[1]), _plain(argument[2]))
        elif code is codes.SUBPATTERN:
            argument = (*argument[:3], _plain(argument[3]))
        elif code is codes.BRANCH:
            argument = (None, [_plain(branch) for branch in argument[1]])
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            argument = (argument[0], argument[1].getwidth()[0], _plain(argument[1]))
        elif code is codes.ATOMIC_GROUP:
            argument = _plain(argument)
        found.append((code, argument))
    return found


_SINGLE = (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN)
_CATEGORIES = {
    codes.CATEGORY_DIGIT: str.isdigit,
    codes.CATEGORY_SPACE: str.isspace,
    codes.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    codes.CATEGORY_NOT_DIGIT: lambda c: not c.isdigit(),
    codes.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    codes.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}


def takes(node: Any, character: str, flags: int) -> bool:
    """Tell whether a node that stands for one character takes this one."""
    if flags & re.IGNORECASE:
        forms = {character, character.lower(), character.upper()}
        return any(takes(node, form, flags & ~re.IGNORECASE) for form in forms if len(form) == 1)
    code, argument = node
    if code is codes.LITERAL:
        return ord(character) == argument
    if code is codes.NOT_LITERAL:
        return ord(character) != argument
    if code is codes.ANY:
        return bool(flags & re.DOTALL) or character != "\n"
    if code is codes.CATEGORY:
        return bool(_CATEGORIES[argument](character))
    if code is codes.RANGE:
        return bool(argument[0] <= ord(character) <= argument[1])
    negated = argument[0][0] is codes.NEGATE
    return any(takes(one, character, flags) for one in argument[negated:]) != negated


def attacks(regex: Regex) -> list[tuple[str, str, str]]:
    """Return (before, unit, after): texts before + unit * n + after are what this pattern might choke on."""
    tree = parser.parse(
        regex.pattern, regex.flags & ~re.UNICODE if isinstance(regex.pattern, bytes) else regex.flags
    )
    flags = tree.state.flags
    units: list[tuple[str, str]] = []
    _repeats(list(tree), "", flags, units)
    words = dict.fromkeys(unit for _, unit in units)
    pairs = {before + unit for before, unit in units} | {
        a + b for a in list(words)[:5] for b in list(words)[:5]
    }
    whole = _sample(list(tree), flags)
    made = [(before, unit) for before, unit in units]
    made += [("", unit) for unit in (*words, *sorted(pairs), whole, whole[:-1], *"a0 -'\n<(.") if unit]
    return [(before, unit, after) for before, unit in dict.fromkeys(made) for after in ("", "\0", "\n\n ")]


def _repeats(nodes: list[Any], before: str, flags: int, found: list[tuple[str, str]]) -> str:
    """Note (what stands before, what is repeated) of every repetition; return a text that the nodes take."""
    for node in nodes:
        code, argument = node
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            _, high, body = argument
            if high > 8:
                for unit in _samples(list(body), flags):
                    found.append((before, unit))
            _repeats(list(body), before, flags, found)
        elif code is codes.SUBPATTERN:
            _repeats(list(argument[3]), before, flags, found)
        elif code is codes.BRANCH:
            for branch in argument[1]:
                _repeats(list(branch), before, flags, found)
        elif code is codes.ATOMIC_GROUP:
            _repeats(list(argument), before, flags, found)
        before += _sample([node], flags)
    return before


def _samples(nodes: list[Any], flags: int) -> list[str]:
    """Return texts that the nodes take, one for each way that a first choice can go."""
    if len(nodes) == 1 and nodes[0][0] in _SINGLE:
        taken = [c for c in ALPHABET if takes(nodes[0], c, flags)]
        kinds = {(c.isalpha(), c.isdigit(), c.isspace(), c.isascii()): c for c in reversed(taken)}
        return list(kinds.values())
    if len(nodes) == 1 and nodes[0][0] is codes.BRANCH:
        return [sample for branch in nodes[0][1][1] for sample in _samples(list(branch), flags)]
    if len(nodes) == 1 and nodes[0][0] is codes.SUBPATTERN:
        return _samples(list(nodes[0][1][3]), flags)
    return [_sample(nodes, flags)]


def _sample(nodes: list[Any], flags: int) -> str:
    """Return a short text that the nodes take."""
    text = ""
    for code, argument in nodes:
        if code in _SINGLE:
            text += next((c for c in ("a" + ALPHABET) if takes((code, argument), c, flags)), "")
            if code is codes.LITERAL and not text:
                text = chr(argument)
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            text += _sample(list(argument[2]), flags) * max(argument[0], 1)
        elif code is codes.SUBPATTERN:
            text += _sample(list(argument[3]), flags)
        elif code is codes.BRANCH:
            text += _sample(list(argument[1][0]), flags)
        elif code is codes.ATOMIC_GROUP:
            text += _sample(list(argument), flags)
    return text


def growth(matcher: Matcher, attack: tuple[str, str, str], *, short: int = 24) -> float:
    """Return how many times as many steps four times as long a text takes: 4 is linear, 16 quadratic.

    Raises:
        Costly: Even the shorter text is past waiting for.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
    before, unit, after = attack
    times = max(4, short // len(unit))
    few = matcher.steps(before + unit * times + after)
    try:
        many = matcher.steps(before + unit * (4 * times) + after)
    except Costly:
        return float("inf")
    return many / few
