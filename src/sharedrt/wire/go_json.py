"""JSON read as Go's ``encoding/json`` reads it, and what is wrong with it in Go's words.

Docker's clients show the daemon's complaint as it is, and tests compare it: ``invalid character 'i' looking for
beginning of object key string``. Go's decoder takes the first value and leaves the rest, knows no ``NaN`` and
no ``Infinity``, and reads what is no UTF-8, and half a surrogate pair, as U+FFFD.

Spec: RFC 8259; words: the syntax errors of Go's package encoding/json.
"""

import json
import re
from typing import Any, Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""Whatever may be half a surrogate pair."""
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
_NUMBER_PART: Final = re.compile(r"[0-9]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_CUT_NUMBER: Final = (".", "e", "E")
"""Right behind a value: Python has taken the whole part of a number that is no number."""
_CONTROL: Final = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r"}


class GoJsonError(ValueError):
    """No JSON; ``str()`` is Go's complaint. ``empty``: there was nothing but white space."""

    def __init__(self, message: str, *, empty: bool = False) -> None:
        super().__init__(message)
        self.empty = empty


def read_first(raw: bytes) -> tuple[Any, bool]:
    """The first value, and whether something other than white space follows it.

    A closing bracket behind the value counts as nothing: so it does for Go's ``Decoder.More``.

    Raises:
        GoJsonError: no JSON, or nested deeper than can be read.
    """
    text = raw.decode("utf-8", "replace")
    start = _skip(text, 0)
    try:
        value, end = _DECODER.raw_decode(text, start)
        cut = text[end - 1].isdigit() and text[end : end + 1] in _CUT_NUMBER
        if cut and syntax_error(raw.decode("latin-1")):
            raise ValueError("no number")
    except RecursionError as error:
        raise GoJsonError(_invalid(text[start], "exceeded max depth")) from error
    except ValueError as error:
        # Byte by byte, as Go complains.
        complaint = syntax_error(raw.decode("latin-1")) or str(error)
        raise GoJsonError(complaint, empty=start == len(text)) from error
    if _HALF.search(text):
        value = _without_halves(value)
    rest = _skip(text, end)
    return value, text[rest : rest + 1] not in ("", "]", "}")


def read_valid_text(data: bytes) -> Any:
    """A whole document, whose strings can all be written as UTF-8 again, as Go's are: half a surrogate pair, and what
    is no UTF-8, is U+FFFD.

    Raises:
        ValueError, RecursionError: as ``json.loads`` does.
    """
    text = data.decode("utf-8", "replace")
    value = json.loads(text)
    return _without_halves(value) if _HALF.search(text) else value


def syntax_error(text: str) -> str:
    """Go's complaint about the first value in ``text`` (one character a byte); empty when nothing is wrong."""
    try:
        _Scanner(text).run()
    except GoJsonError as error:
        return str(error)
    return ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_halves(item) for item in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(item) for key, item in value.items()}
    return value


def _invalid(character: str, context: str) -> str:
    return f"invalid character {_quoted(character)} {context}"


def _quoted(character: str) -> str:
    code = ord(character)
    if character in ("'", "\\"):
        return f"'\\{character}'"
    if 0x20 <= code < 0x7F:
        return f"'{character}'"
    if code in _CONTROL:
        return f"'\\{_CONTROL[code]}'"
    if code <= 0x7F:
        return f"'\\x{code:02x}'"
    return f"'{character}'" if character.isprintable() else f"'\\u{code:04x}'"


class _Scanner:
    """Walks one value; raises at what is wrong. Containers are a stack of their closing brackets."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def run(self) -> None:
        stack: list[str] = []
        closing_allowed = False
        while True:
            opened = self._value_or_key(stack, closing_allowed)
            closing_allowed = opened
            if opened:
                continue
            while stack:
                closer = stack[-1]
                context = "object key:value pair" if closer == "}" else "array element"
                character = self._next()
                if character == closer:
                    stack.pop()
                    continue
                if character != ",":
                    raise self._error(character, f"after {context}")
                break
            if not stack:
                return

    def _value_or_key(self, stack: list[str], closing_allowed: bool) -> bool:
        """One item: a key and a value in an object, a value elsewhere. Whether it opened a container that has
        items; an empty one is read to its end."""
        character = self._next()
        if closing_allowed and character == stack[-1]:
            stack.pop()
            return False
        if stack and stack[-1] == "}":
            if character != '"':
                raise self._error(character, "looking for beginning of object key string")
            self._string()
            if (character := self._next()) != ":":
                raise self._error(character, "after object key")
            character = self._next()
        if character in "{[":
            stack.append("}" if character == "{" else "]")
            return True
        if character == '"':
            self._string()
        elif character in _LITERALS:
            self._literal(_LITERALS[character])
        elif character == "-" or character.isdigit():
            self._number(character)
        else:
            raise self._error(character, "looking for beginning of value")
        return False

    def _next(self) -> str:
        """The next character that is no white space."""
        self._at = _skip(self._text, self._at)
        return self._take()

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise GoJsonError("unexpected EOF")
        self._at += 1
        return self._text[self._at - 1]

    def _error(self, character: str, context: str) -> GoJsonError:
        return GoJsonError(_invalid(character, context))

    def _string(self) -> None:
        while True:
            plain = _PLAIN.match(self._text, self._at)
            self._at = plain.end() if plain else self._at
            character = self._take()
            if character == '"':
                return
            if character != "\\":
                raise self._error(character, "in string literal")
            escape = self._take()
            if escape == "u":
                for _ in range(4):
                    if (digit := self._take()) not in "0123456789abcdefABCDEF":
                        raise self._error(digit, "in \\u hexadecimal character escape")
            elif escape not in 'bfnrt\\/"':
                raise self._error(escape, "in string escape code")

    def _literal(self, word: str) -> None:
        for expected in word[1:]:
            if (character := self._take()) != expected:
                raise self._error(character, f"in literal {word} (expecting '{expected}')")

    def _number(self, first: str) -> None:
        if first == "-" and not (first := self._take()).isdigit():
            raise self._error(first, "in numeric literal")
        if first != "0":
            self._digits()
        if self._peek() == ".":
            self._at += 1
            self._needs_digits("after decimal point in numeric literal")
        if self._peek() in ("e", "E"):
            self._at += 1
            if self._peek() in ("+", "-"):
                self._at += 1
            self._needs_digits("in exponent of numeric literal")

    def _needs_digits(self, context: str) -> None:
        if not (character := self._take()).isdigit():
            raise self._error(character, context)
        self._digits()

    def _digits(self) -> None:
        found = _NUMBER_PART.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]
