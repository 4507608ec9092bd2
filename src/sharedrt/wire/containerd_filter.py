"""containerd's filter language, the ``filters`` of its List and Subscribe calls.

::

    filter    = selector { "," selector }              all must match; of several filters, one
    selector  = fieldpath [ operator value ]           without operator: the field is there
    fieldpath = field { "." field }
    field     = letter { letter | digit | "_" } | '"' text '"'
    operator  = "==" | "!=" | "~="                     the last one is a regular expression
    value     = '"' text '"' | any but space and ","   after "~=" also /text/ and |text|

Spec: the package documentation of containerd's ``pkg/filters``. Text in double quotes has Go's escapes. A field
that is not there equals nothing, matches nothing and differs (``!=``) from everything.

Regular expressions are Go's (:mod:`sharedrt.wire.go_regexp`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.go_regexp import Regexp, RegexpError, compile_regexp

Fields = Callable[[Sequence[str]], str | None]
"""Looks a field up by its path; ``None`` when the object has no such field."""

_OPERATORS: Final = ("==", "!=", "~=")
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE: Final = re.compile(r"[^\s,]+")
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
_SIMPLE_ESCAPES: Final = dict(zip("abfnrtv\\\"'", "\a\b\f\n\r\t\v\\\"'", strict=True))


@dataclass(frozen=True, slots=True)
class Selector:
    """One condition. An empty ``operator`` asks for the field's presence."""

    path: tuple[str, ...]
    operator: str = ""
    value: str = ""
    pattern: Regexp | None = None

    def matches(self, fields: Fields) -> bool:
        found = fields(self.path)
        match self.operator:
            case "==":
                return found is not None and found == self.value
            case "!=":
                return found != self.value
            case "~=":
                return found is not None and self.pattern is not None and self.pattern.search(found)
            case _:
                return found is not None


@dataclass(frozen=True, slots=True)
class FilterSet:
    """Filters as a client sent them: no filter passes everything, of several one must match."""

    filters: tuple[tuple[Selector, ...], ...] = ()

    def matches(self, fields: Fields) -> bool:
        if not self.filters:
            return True
        return any(all(s.matches(fields) for s in selectors) for selectors in self.filters)


def parse_filters(texts: Sequence[str]) -> FilterSet:
    """Parse the filters of one request. An empty one matches everything.

    Raises:
        InvalidArgument: not in the language, or not a regular expression; says where.
    """
    return FilterSet(tuple(_Parser(text).filter() for text in texts))


def map_field(path: Sequence[str], labels: Mapping[str, str]) -> str | None:
    """What ``labels.KEY`` means: the rest of the path, dots and all, is the key. Without a key: nothing."""
    return labels.get(".".join(path)) if path else None


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def filter(self) -> tuple[Selector, ...]:
        if not self._text:
            return ()
        selectors = [self._selector()]
        while self._at < len(self._text):
            self._expect(",")
            selectors.append(self._selector())
        return tuple(selectors)

    def _selector(self) -> Selector:
        path = [self._field()]
        while self._peek() == ".":
            self._at += 1
            path.append(self._field())
        operator = self._text[self._at : self._at + 2]
        if operator not in _OPERATORS:
            if self._peek() not in ("", ","):
                raise self._fault("expected ==, != or ~=")
            return Selector(tuple(path))
        self._at += 2
        value = self._value(regex=operator == "~=")
        if operator != "~=":
            return Selector(tuple(path), operator, value)
        try:
            return Selector(tuple(path), operator, value, compile_regexp(value))
        except RegexpError as error:
            raise self._fault(f"not a regular expression: {error}") from error

    def _field(self) -> str:
        if self._peek() == '"':
            return self._quoted('"')
        if found := _FIELD.match(self._text, self._at):
            self._at = found.end()
            return found[0]
        raise self._fault("expected a field's name")

    def _value(self, *, regex: bool) -> str:
        quote = self._peek()
        if quote == '"' or (regex and quote in ("/", "|")):
            return self._quoted(quote)
        if found := _VALUE.match(self._text, self._at):
            self._at = found.end()
            return found[0]
        raise self._fault("expected a value")

    def _quoted(self, quote: str) -> str:
        body = re.compile(rf"((?:[^\{quote}\\]|\\.)*)\{quote}", re.DOTALL)
        found = body.match(self._text, self._at + 1)
        if found is None:
            raise self._fault("unterminated quote")
        start, self._at = self._at, found.end()
        if quote != '"':
            return found[1].replace(f"\\{quote}", quote)
        try:
            return _ESCAPE.sub(_unescape, found[1])
        except (KeyError, ValueError) as error:
            self._at = start
            raise self._fault("unknown escape in quotes") from error

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._fault(f"expected {character!r}")
        self._at += 1

    def _fault(self, reason: str) -> InvalidArgument:
        return InvalidArgument("filter", self._text, f"{reason} at character {self._at + 1}")


def _unescape(found: re.Match[str]) -> str:
    byte, short, long, octal, simple = found.groups()
    if simple is not None:
        return _SIMPLE_ESCAPES[simple]
    if octal is not None:
        return chr(int(octal, 8))
    return chr(int(byte or short or long, 16))
