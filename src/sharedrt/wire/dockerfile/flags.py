"""``--name=value`` words in front of an instruction's arguments."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError

_QUOTES: Final = ("'", '"')


@dataclass(frozen=True, slots=True)
class Flags:
    """The values given, by name; a flag without one has ``None``."""

    values: Mapping[str, tuple[str | None, ...]]

    def text(self, name: str, default: str = "") -> str:
        """The one value. Raises DockerfileError when it is missing or given twice."""
        given = self.values.get(name)
        if given is None:
            return default
        if len(given) > 1:
            raise DockerfileError(f"duplicate flag specified: --{name}")
        if given[0] is None:
            raise DockerfileError(f"missing a value on flag: --{name}")
        return given[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """All values. Raises DockerfileError for a missing one."""
        given = self.values.get(name, ())
        if None in given:
            raise DockerfileError(f"missing a value on flag: --{name}")
        return tuple(value for value in given if value is not None)

    def boolean(self, name: str) -> bool:
        """``--name``, ``--name=true`` or ``--name=false``."""
        given = self.values.get(name)
        if given is None:
            return False
        if len(given) > 1:
            raise DockerfileError(f"duplicate flag specified: --{name}")
        match (given[0] or "true").lower():
            case "true":
                return True
            case "false":
                return False
            case _:
                raise DockerfileError(f"expecting boolean value for flag --{name}, not: {given[0]}")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """What may have been meant, as the end of a message."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def take_flags(text: str, escape: str, known: frozenset[str]) -> tuple[Flags, str]:
    """The flags, and what comes after them. Quotes group and go; ``--`` alone ends the flags.

    Raises:
        DockerfileError: a flag that is not among ``known``.
    """
    values: dict[str, list[str | None]] = {}
    at = _skip(text, 0)
    while text.startswith("--", at):
        word, at = _word(text, at, escape)
        at = _skip(text, at)
        if word == "--":
            break
        name, equals, value = word[2:].partition("=")
        if name not in known:
            raise DockerfileError(f"unknown flag: --{name}{did_you_mean(name, known)}")
        values.setdefault(name, []).append(value if equals else None)
    return Flags({name: tuple(given) for name, given in values.items()}), text[at:]


def _skip(text: str, at: int) -> int:
    """Behind the white space there."""
    while text[at : at + 1].isspace():
        at += 1
    return at


def _word(text: str, at: int, escape: str) -> tuple[str, int]:
    """The word there, and where it has ended."""
    word: list[str] = []
    quote = ""
    while at < len(text):
        character = text[at]
        at += 1
        if character == escape and at < len(text) and quote != "'":
            word.append(text[at])
            at += 1
        elif quote:
            if character == quote:
                quote = ""
            else:
                word.append(character)
        elif character in _QUOTES:
            quote = character
        elif character.isspace():
            return "".join(word), at
        else:
            word.append(character)
    return "".join(word), at
