"""Substitution of variables, quotes and escapes in a Dockerfile's words (Dockerfile reference, "Environment
replacement"): ``$name``, ``${name}``, and with a modifier ``:-  -  :+  +  :?  ?  #  ##  %  %%  /  //``.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError
from sharedrt.wire.dockerfile.globs import replaced, without_prefix, without_suffix

_END: Final = ""
_SPECIAL: Final = frozenset("@*#?-$!0")
_MAX_DEPTH: Final = 64
MAX_GROWTH: Final = 1 << 20
"""Characters that variables may bring into one text: ``ENV A=$A$A``, forty times, would be a terabyte."""


class Expander:
    """The rules of one place in the file.

    Args:
        escape: the file's escape character.
        skip_unset: leave variables without a value as they are written.
        raw_quotes, raw_escapes: leave those characters in.
        skip_quotes: quotes are characters like others (the text of here-documents).
    """

    def __init__(
        self,
        escape: str = "\\",
        *,
        skip_unset: bool = False,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        skip_quotes: bool = False,
    ) -> None:
        self.escape = escape
        self.skip_unset = skip_unset
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.skip_quotes = skip_quotes

    def word(self, text: str, variables: Mapping[str, str]) -> str:
        """The whole text as one word. Raises DockerfileError."""
        return _Scanner(self, text, variables).run()[0]

    def words(self, text: str, variables: Mapping[str, str]) -> list[str]:
        """Split at spaces outside of quotes, of substituted values too. Raises DockerfileError."""
        return _Scanner(self, text, variables).run()[1]


class _Words:
    """Words as characters come; a raw one never separates."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._current: list[str] = []
        self._inside = False

    def add(self, text: str) -> None:
        for character in text:
            if not character.isspace():
                self.add_raw(character)
            elif self._inside:
                self._end()

    def add_raw(self, text: str) -> None:
        self._current.append(text)
        self._inside = True

    def finish(self) -> list[str]:
        if self._inside:
            self._end()
        return self._words

    def _end(self) -> None:
        self._words.append("".join(self._current))
        self._current = []
        self._inside = False


class _Scanner:
    def __init__(self, rules: Expander, text: str, variables: Mapping[str, str]) -> None:
        self._rules = rules
        self._text = text
        self._variables = variables
        self._at = 0
        self._depth = 0
        self._grown = 0

    def run(self) -> tuple[str, list[str]]:
        return self._until(_END, raw_escapes=self._rules.raw_escapes)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _until(self, stop: str, *, raw_escapes: bool) -> tuple[str, list[str]]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise DockerfileError("variables are nested too deeply")
        special: dict[str, Callable[[], str]] = {"$": self._dollar}
        if not self._rules.skip_quotes:
            special |= {"'": self._single, '"': self._double}
        result: list[str] = []
        words = _Words()
        while (character := self._peek()) != _END:
            if stop and character == stop:
                self._at += 1
                self._depth -= 1
                return "".join(result), words.finish()
            if (part := special.get(character)) is not None:
                text = part()
                result.append(text)
                if character == "$":
                    words.add(text)
                else:
                    words.add_raw(text)
                continue
            self._at += 1
            if character == self._rules.escape:
                if raw_escapes:
                    words.add_raw(character)
                    result.append(character)
                if (character := self._next()) == _END:
                    break
                words.add_raw(character)
            else:
                words.add(character)
            result.append(character)
        if stop:
            raise DockerfileError("syntax error: missing '}'" if stop == "}" else _missing(stop))
        self._depth -= 1
        return "".join(result), words.finish()

    def _single(self) -> str:
        """Nothing is special inside."""
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise DockerfileError(_missing("single-quote"))
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{inside}'" if self._rules.raw_quotes else inside

    def _double(self) -> str:
        self._at += 1
        quote = '"' if self._rules.raw_quotes else ""
        result = [quote]
        while (character := self._peek()) != '"':
            if character == _END:
                raise DockerfileError(_missing("double-quote"))
            if character == "$":
                result.append(self._dollar())
                continue
            self._at += 1
            if character == self._rules.escape:
                if self._rules.raw_escapes:
                    result.append(character)
                if self._peek() == _END:
                    continue
                if self._peek() in ('"', "$", self._rules.escape):
                    character = self._next()
                elif self._rules.raw_escapes:
                    continue
            result.append(character)
        self._at += 1
        return "".join((*result, quote))

    # ------------------------------------------------------------ variables

    def _dollar(self) -> str:
        value = self._variable()
        self._grown += len(value)
        if self._grown > MAX_GROWTH:
            raise DockerfileError(f"variables of over {MAX_GROWTH} characters in one text")
        return value

    def _variable(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._variables.get(name)
            if value is None:
                return f"${name}" if self._rules.skip_unset else ""
            return value
        self._at += 1
        if self._peek() == _END:
            raise DockerfileError("syntax error: missing '}'")
        if self._peek() in ("{", "}", ":"):
            raise DockerfileError("syntax error: bad substitution")
        name = self._name()
        return self._modified(name, self._next())

    def _modified(self, name: str, modifier: str) -> str:
        value = self._variables.get(name)
        if modifier == "}":
            if value is None and self._rules.skip_unset:
                return f"${{{name}}}"
            return value or ""
        colon = ""
        if modifier == ":":
            colon, modifier = ":", self._next()
        match modifier:
            case "-" | "+" | "?":
                word, _ = self._until("}", raw_escapes=self._rules.raw_escapes)
                if value is None and self._rules.skip_unset:
                    return f"${{{name}{colon}{modifier}{word}}}"
                return self._default(name, value, colon, modifier, word)
            case "#" | "%" if not colon:
                pattern, _ = self._until("}", raw_escapes=True)
                if value is None and self._rules.skip_unset:
                    return f"${{{name}{modifier}{pattern}}}"
                greedy = pattern.startswith(modifier)
                trim = without_prefix if modifier == "#" else without_suffix
                return trim(value or "", pattern[greedy:], longest=greedy)
            case "/" if not colon:
                return self._replaced(name, value)
            case "":
                raise DockerfileError("syntax error: missing '}'")
            case _:
                raise DockerfileError(f"unsupported modifier ({colon}{modifier}) in substitution")

    def _default(self, name: str, value: str | None, colon: str, modifier: str, word: str) -> str:
        missing = value is None or (bool(colon) and not value)
        match modifier:
            case "-":
                return word if missing or value is None else value
            case "+":
                return "" if missing else word
            case _:
                if missing or value is None:
                    state = "unset" if value is None else "empty"
                    raise DockerfileError(f"{name}: {word or f'is not allowed to be {state}'}")
                return value

    def _replaced(self, name: str, value: str | None) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        pattern, _ = self._until("/", raw_escapes=True)
        replacement, _ = self._until("}", raw_escapes=False)
        if value is None and self._rules.skip_unset:
            return f"${{{name}{'//' if everywhere else '/'}{pattern}/{replacement}}}"
        if not pattern:
            return value or ""
        return replaced(value or "", pattern, replacement, everywhere=everywhere)

    def _name(self) -> str:
        first = self._peek()
        if first.isdecimal():
            found = re.compile(r"\d+").match(self._text, self._at)
        elif first and first in _SPECIAL:
            self._at += 1
            return first
        else:
            found = re.compile(r"\w+").match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]


def _missing(what: str) -> str:
    return f"unexpected end of statement while looking for matching {what}"
