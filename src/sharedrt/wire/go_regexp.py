"""Go's regular expressions in linear time: filters come from clients, and one must not make all others wait.

Python's ``re`` tries one way after another, and for ``(a+)+$`` there are 2**n of them, while nothing else of the daemon
runs. Here all ways are gone at once (Thompson's construction), a text of n characters costs at most n steps of the
pattern's size, and sets of states that came once are remembered.

Known is what filters are made of: characters, ``.``, classes (also ``\\d \\s \\w`` and ``[[:alpha:]]``), the places
``^ $ \\A \\z \\b \\B``, groups, ``|``, ``* + ? {n,m}`` and the flags ``i m s``. Spec: Go, package regexp/syntax; of it
are missing Unicode classes (``\\p{..}``) and ``\\Q..\\E``. A group captures nothing; what is greedy is no matter.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_PATTERN: Final = 4000
"""Characters. Go's own bounds are higher, but nobody writes such a filter."""
MAX_STATES: Final = 4000
MAX_WORK: Final = 200_000
"""States looked at in one search, about a tenth of a second; what is not found by then is not there."""
_MAX_REPEAT: Final = 1000
_MAX_DEPTH: Final = 100
_REMEMBERED: Final = 256
_SMALL_SET: Final = 32
"""Larger sets of states are not remembered: the memory is everybody's, too."""

Ranges = tuple[tuple[str, str], ...]

_CLASSES: Final[dict[str, Ranges]] = {
    "d": (("0", "9"),),
    "s": (("\t", "\n"), ("\f", "\r"), (" ", " ")),
    "w": (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")),
}
_POSIX: Final[dict[str, Ranges]] = {
    "alnum": (("0", "9"), ("A", "Z"), ("a", "z")),
    "alpha": (("A", "Z"), ("a", "z")),
    "ascii": (("\0", "\x7f"),),
    "blank": (("\t", "\t"), (" ", " ")),
    "cntrl": (("\0", "\x1f"), ("\x7f", "\x7f")),
    "digit": (("0", "9"),),
    "graph": (("!", "~"),),
    "lower": (("a", "z"),),
    "print": ((" ", "~"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "upper": (("A", "Z"),),
    "word": _CLASSES["w"],
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}
_ESCAPES: Final = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class RegexpError(ValueError):
    """Not a regular expression, or not one that is known here."""


# ---------------------------------------------------------------- the program


@dataclass(slots=True)
class _State:
    """One of: a character that ``ranges`` hold (or, negated, do not), a look at where it stands, or a fork."""

    out: int = -1
    other: int = -1
    ranges: Ranges = ()
    negated: bool = False
    fold: bool = False
    look: str = ""
    fork: bool = False

    def takes(self, character: str) -> bool:
        found = self._holds(character)
        if not found and self.fold:
            found = self._holds(character.lower()[:1]) or self._holds(character.upper()[:1])
        return found is not self.negated

    def _holds(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges)


Piece = Callable[[int], int]
"""Adds the states of a part of the pattern, given the state that comes after it; the first of them."""

_MATCH: Final = 0


class Regexp:
    """A compiled pattern. Raises RegexpError."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise RegexpError(f"expression of over {MAX_PATTERN} characters")
        self._states: list[_State] = [_State()]
        self._start = _Parser(pattern, self._states).parse()(_MATCH)
        self._looks = any(state.look for state in self._states)
        self._next: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in ``text``."""
        return self._run(text, anywhere=True)

    def fullmatch(self, text: str) -> bool:
        """Whether the pattern is all of ``text``."""
        return self._run(text, anywhere=False)

    def _run(self, text: str, *, anywhere: bool) -> bool:
        current, work = self._closure((self._start,), text, 0)
        for at, character in enumerate(text):
            if anywhere and _MATCH in current:
                return True
            key = (current, character)
            after = None if self._looks else self._next.get(key)
            if after is None:
                states = self._states
                seeds = [states[n].out for n in current if states[n].takes(character)]
                if anywhere:
                    seeds.append(self._start)
                after, looked_at = self._closure(seeds, text, at + 1)
                work += len(current) + looked_at
                if work > MAX_WORK:
                    return False
                if not self._looks and max(len(current), len(after)) <= _SMALL_SET:
                    if len(self._next) >= _REMEMBERED:
                        self._next.clear()
                    self._next[key] = after
            current = after
        return _MATCH in current

    def _closure(self, seeds: Iterable[int], text: str, at: int) -> tuple[frozenset[int], int]:
        """The states that take a character, and the match, that ``seeds`` lead to without one; how many were
        looked at."""
        found: set[int] = set()
        seen: set[int] = set()
        stack = list(seeds)
        while stack:
            number = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            state = self._states[number]
            if state.fork:
                stack += (state.out, state.other)
            elif state.look:
                if _stands(state.look, text, at):
                    stack.append(state.out)
            else:
                found.add(number)
        return frozenset(found), len(seen)


def _stands(look: str, text: str, at: int) -> bool:
    match look:
        case "A":
            return at == 0
        case "z":
            return at == len(text)
        case "^":
            return at == 0 or text[at - 1] == "\n"
        case "$":
            return at == len(text) or text[at] == "\n"
        case _:
            edge = _is_word(text[at - 1 : at]) is not _is_word(text[at : at + 1])
            return edge is (look == "b")


def _is_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


# ---------------------------------------------------------------- the parser


class _Parser:
    def __init__(self, pattern: str, states: list[_State]) -> None:
        self._text = pattern
        self._at = 0
        self._states = states
        self._flags = ""
        self._depth = 0
        self._repeats = 0

    def parse(self) -> Piece:
        piece = self._alternatives()
        if self._at < len(self._text):
            raise RegexpError("unexpected )")
        return piece

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise RegexpError("unexpected end of the expression")
        self._at += 1
        return character

    def _add(self, state: _State) -> int:
        if len(self._states) >= MAX_STATES:
            raise RegexpError("expression too large")
        self._states.append(state)
        return len(self._states) - 1

    def _alternatives(self) -> Piece:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise RegexpError("expression nests too deeply")
        flags = self._flags
        branches = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._sequence())
        self._flags = flags
        self._depth -= 1

        def build(after: int) -> int:
            first = branches[-1](after)
            for branch in reversed(branches[:-1]):
                first = self._add(_State(branch(after), first, fork=True))
            return first

        return build

    def _sequence(self) -> Piece:
        pieces: list[Piece] = []
        while self._peek() not in ("", "|", ")"):
            pieces.append(self._repeated())

        def build(after: int) -> int:
            for piece in reversed(pieces):
                after = piece(after)
            return after

        return build

    def _repeated(self) -> Piece:
        piece = self._atom()
        if (bounds := self._bounds()) is None:
            return piece
        if self._peek() == "?":  # the shortest first, which is no matter here
            self._at += 1
        if self._bounds() is not None:
            raise RegexpError("invalid nested repetition operator")
        return self._repeat(piece, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._peek())
        if simple is not None:
            self._at += 1
            return simple
        if self._peek() != "{":
            return None
        end = self._text.find("}", self._at)
        first, comma, last = self._text[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not _is_count(first) or (last and not _is_count(last)):
            return None  # a plain brace
        least = int(first)
        most = (int(last) if last else None) if comma else least
        if max(least, most or 0) > _MAX_REPEAT or (most is not None and most < least):
            raise RegexpError("invalid repeat count")
        self._at = end + 1
        return least, most

    def _repeat(self, piece: Piece, least: int, most: int | None) -> Piece:
        def build(after: int) -> int:
            if most is None:
                loop = self._add(_State(other=after, fork=True))
                self._states[loop].out = piece(loop)
                after = loop
            for _ in range(0 if most is None else most - least):
                after = self._add(_State(piece(after), after, fork=True))
            for _ in range(least):
                self._repeats += 1
                if self._repeats > MAX_STATES:  # of what may be nothing, and so adds no state
                    raise RegexpError("expression too large")
                after = piece(after)
            return after

        return build

    def _atom(self) -> Piece:
        character = self._take()
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case ".":
                dot: Ranges = () if "s" in self._flags else (("\n", "\n"),)
                return self._one(dot, negated=True)
            case "^":
                return self._look("^" if "m" in self._flags else "A")
            case "$":
                return self._look("$" if "m" in self._flags else "z")
            case "*" | "+" | "?":
                raise RegexpError(f"missing argument to repetition operator: {character}")
            case _:
                return self._one(((character, character),))

    def _one(self, ranges: Ranges, *, negated: bool = False) -> Piece:
        fold = "i" in self._flags
        return lambda after: self._add(_State(after, ranges=ranges, negated=negated, fold=fold))

    def _look(self, look: str) -> Piece:
        return lambda after: self._add(_State(after, look=look))

    def _group(self) -> Piece:
        outer = self._flags
        if self._peek() == "?":
            self._at += 1
            if self._peek() in ("P", "<"):
                self._name()
            elif self._group_flags() == ")":
                return lambda after: after  # for the rest of the group around it
        piece = self._alternatives()
        if self._peek() != ")":
            raise RegexpError("missing closing )")
        self._at += 1
        self._flags = outer
        return piece

    def _name(self) -> None:
        if self._take() == "P" and self._peek() == "<":
            self._at += 1
        end = self._text.find(">", self._at)
        name = self._text[self._at : max(end, self._at)]
        if not name or not all(map(_is_word, name)):
            raise RegexpError("invalid named capture")
        self._at = end + 1

    def _group_flags(self) -> str:
        """Takes ``i-s:`` or ``i-s)``; the character that ends it."""
        on = True
        while (character := self._take()) not in (":", ")"):
            if character == "-" and on:
                on = False
            elif character in "imsU":
                flags = self._flags.replace(character, "")
                self._flags = flags + character if on else flags
            else:
                raise RegexpError("invalid or unsupported Perl syntax")
        return character

    def _escape(self) -> Piece:
        character = self._take()
        if character in ("A", "z", "b", "B"):
            return self._look(character)
        if character.lower() in _CLASSES:
            return self._one(_CLASSES[character.lower()], negated=character.isupper())
        literal = self._literal_escape(character)
        return self._one(((literal, literal),))

    def _literal_escape(self, character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character == "x":
            return self._hexadecimal()
        if character.isascii() and character.isalnum():
            raise RegexpError(f"invalid escape sequence: \\{character}")
        return character

    def _hexadecimal(self) -> str:
        if self._peek() == "{":
            end = self._text.find("}", self._at)
            digits = self._text[self._at + 1 : max(end, 0)]
            self._at = end + 1
        else:
            digits = self._text[self._at : self._at + 2]
            digits = digits if len(digits) == 2 else ""
            self._at += 2
        if not 0 < len(digits) < 7 or not _HEX.issuperset(digits) or int(digits, 16) > 0x10FFFF:
            raise RegexpError("invalid escape sequence: \\x")
        return chr(int(digits, 16))

    def _class(self) -> Piece:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[str, str]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            if self._text.startswith("[:", self._at):
                ranges += self._posix_class()
                continue
            low = self._class_character(ranges)
            if low is None:
                continue
            high: str | None = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_character(ranges)
            if high is None or low > high:
                raise RegexpError("invalid character class range")
            ranges.append((low, high))
        self._at += 1
        return self._one(tuple(ranges), negated=negated)

    def _posix_class(self) -> Ranges:
        end = self._text.find(":]", self._at)
        name = self._text[self._at + 2 : max(end, 0)]
        ranges = _POSIX.get(name.removeprefix("^"))
        if ranges is None:
            raise RegexpError("invalid character class range")
        self._at = end + 2
        return _complement(ranges) if name.startswith("^") else ranges

    def _class_character(self, ranges: list[tuple[str, str]]) -> str | None:
        """One character; ``None``: a class of its own, whose ranges were added."""
        character = self._take()
        if character != "\\":
            return character
        character = self._take()
        if character.lower() in _CLASSES:
            own = _CLASSES[character.lower()]
            ranges += _complement(own) if character.isupper() else own
            return None
        return self._literal_escape(character)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


def _complement(ranges: Ranges) -> Ranges:
    """All characters that sorted ranges leave out."""
    found = []
    low = 0
    for first, last in ranges:
        if low < ord(first):
            found.append((chr(low), chr(ord(first) - 1)))
        low = ord(last) + 1
    return (*found, (chr(low), chr(0x10FFFF)))


@lru_cache(maxsize=16)
def compile_regexp(pattern: str) -> Regexp:
    """Raises RegexpError."""
    return Regexp(pattern)
