"""Detach keys: the sequence by which a user leaves a terminal without ending what runs in it.

Spec: Engine API, parameter ``detachKeys``: "a single character [a-Z] or ctrl-<value> where <value> is one of
a-z, @, ^, [, , or _", separated by commas; Docker's default is ctrl-p,ctrl-q.
"""

from typing import Final

DEFAULT_KEYS: Final = b"\x10\x11"
_CONTROL: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_detach_keys(text: str) -> bytes:
    """The bytes of a sequence such as ``ctrl-p,ctrl-q``; empty text: the default.

    Raises:
        ValueError: an unknown key.
    """
    if not text:
        return DEFAULT_KEYS
    return bytes(_parse_key(key) for key in text.split(","))


def _parse_key(key: str) -> int:
    if len(key) == 1 and key.isascii():
        return ord(key)
    value = key.removeprefix("ctrl-")
    if key != value and len(value) == 1:
        if value.isascii() and value.islower():
            return ord(value) - ord("a") + 1
        if value in _CONTROL:
            return _CONTROL[value]
    if key == "DEL":  # of the client's own library; the API's text does not tell of it
        return 127
    raise ValueError(f"Unknown character: '{key}'")


class DetachScanner:
    """Finds the sequence in what a user types. A begun sequence is held back until it is decided."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def receive_data(self, data: bytes) -> tuple[bytes, bool]:
        """(bytes to pass on, whether the sequence was completed). What follows it is dropped."""
        if not self._keys:
            return data, False
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(out), True
                continue
            out += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                out.append(byte)
        return bytes(out), False

    def receive_eof(self) -> bytes:
        """What was held back."""
        held, self._matched = self._keys[: self._matched], 0
        return held
