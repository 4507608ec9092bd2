"""The shell's patterns in ``${name#pattern}`` and the like, without backtracking: the file's author is nobody's friend.

A set of positions in the value is one integer, a bit each; a pattern's step maps such a set to the next one.
"""

from collections.abc import Sequence
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError

MAX_REPLACED: Final = 8192
"""Characters of a value in which something may be replaced: the work grows with the square of that."""
_ANY, _STAR = 0, 1
_ESCAPABLE: Final = ("*", "?", "\\", "/", "}")
Token = str | int
"""A character, one of any kind, or any number of them."""


def parse_glob(pattern: str) -> list[Token]:
    """``*`` and ``?`` are special; a backslash makes them plain, and itself, ``/`` and ``}``."""
    tokens: list[Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            if not tokens or tokens[-1] != _STAR:
                tokens.append(_STAR)
        elif character == "?":
            tokens.append(_ANY)
        elif character == "\\":
            escaped = next(characters, "")
            if escaped not in _ESCAPABLE:
                raise DockerfileError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'"
                )
            tokens.append(escaped)
        else:
            tokens.append(character)
    return tokens


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its beginning that fits."""
    ends = _Value(value).ends(parse_glob(pattern), 0)
    if not ends:
        return value
    return value[_highest(ends) if longest else _lowest(ends) :]


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its end that fits."""
    ends = _Value(value[::-1]).ends(parse_glob(pattern)[::-1], 0)
    if not ends:
        return value
    return value[: len(value) - (_highest(ends) if longest else _lowest(ends))]


def replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """The leftmost, longest match replaced, or all of them from the left. Raises DockerfileError for a long value."""
    if len(value) > MAX_REPLACED:
        raise DockerfileError(f"a value of over {MAX_REPLACED} characters to replace something in")
    tokens = parse_glob(pattern)
    known = _Value(value)
    parts: list[str] = []
    at = 0
    while at < len(value):
        ends = known.ends(tokens, at)
        end = _highest(ends) if ends else at
        if end == at:  # nothing, or nothing but the empty text
            parts.append(value[at])
            at += 1
            continue
        parts.append(replacement)
        at = end
        if not everywhere:
            break
    return "".join(parts) + value[at:]


class _Value:
    def __init__(self, value: str) -> None:
        self._length = len(value)
        self._all = (1 << (self._length + 1)) - 1
        self._places: dict[str, int] = {}
        for index, character in enumerate(value):
            self._places[character] = self._places.get(character, 0) | 1 << index

    def ends(self, tokens: Sequence[Token], start: int) -> int:
        """Where a match that begins at ``start`` may end."""
        places = 1 << start
        for token in tokens:
            if not places:
                return 0
            if token == _STAR:
                places = self._all >> _lowest(places) << _lowest(places)
            elif token == _ANY:
                places = places << 1 & self._all
            else:
                places = (places & self._places.get(str(token), 0)) << 1
        return places


def _lowest(places: int) -> int:
    return (places & -places).bit_length() - 1


def _highest(places: int) -> int:
    return places.bit_length() - 1
