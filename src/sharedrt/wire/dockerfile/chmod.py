"""Modes as chmod(1) reads them: octal digits, or ``u=rwX,go-w``."""

import re
from dataclasses import dataclass
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError

_OCTAL: Final = re.compile(r"[0-7]{1,4}")
_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_ACTION: Final = re.compile(r"([-+=])([rwxXst]*)")
_WHO: Final = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
_BITS: Final = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


@dataclass(frozen=True, slots=True)
class ModeChange:
    """``octal``: the whole mode; else ``clauses`` of (mask of who, operator, letters)."""

    octal: int | None
    clauses: tuple[tuple[int, str, str], ...] = ()

    def apply(self, mode: int, *, folder: bool) -> int:
        """The mode that permission bits (and set-uid, set-gid, sticky) become."""
        if self.octal is not None:
            return self.octal
        for who, operator, letters in self.clauses:
            bits = 0
            for letter in letters:
                if letter == "X":
                    bits |= 0o111 if folder or mode & 0o111 else 0
                else:
                    bits |= _BITS[letter]
            bits &= who | (0o1000 if who == 0o7777 else 0)
            if operator == "+":
                mode |= bits
            elif operator == "-":
                mode &= ~bits
            else:
                mode = mode & ~(who & 0o777) | bits
        return mode


def parse_mode(text: str) -> ModeChange:
    """Raises DockerfileError."""
    if _OCTAL.fullmatch(text):
        return ModeChange(int(text, 8))
    clauses = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise DockerfileError(f"invalid chmod parameter: {text!r}")
        who = 0
        for letter in found[1]:
            who |= 0o7777 if letter == "a" else _WHO[letter]
        actions = _ACTION.findall(found[2])
        clauses += [(who or 0o7777, operator, letters) for operator, letters in actions]
    return ModeChange(None, tuple(clauses))
