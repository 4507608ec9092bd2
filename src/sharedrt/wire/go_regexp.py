"""Go's regular expressions in linear time: filters come from clients, and one must not make all others wait.

Python's ``re`` tries one way after another, and for ``(a+)+$`` there are 2**n of them, while nothing else of the daemon
runs. RE2 is what Go's package regexp was made after: the same syntax, and a time in proportion to the text.
"""

from functools import lru_cache
from typing import Final

MAX_PATTERN: Final = 4000
"""Bytes. Go's own bound is higher, but nobody writes such a filter."""
_MAX_MEMORY: Final = 2 << 20
"""Of one compiled expression, in bytes."""


class RegexpError(ValueError):
    """Not a regular expression, or too large a one."""


class Regexp:
    """One compiled expression. Raises RegexpError."""

    def __init__(self, pattern: str) -> None:
        import re2  # 2 MiB and some milliseconds, which only those pay who are asked for an expression

        encoded = _encode(pattern)
        if len(encoded) > MAX_PATTERN:
            raise RegexpError("expression is too long")
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = _MAX_MEMORY
        try:
            self._compiled = re2.compile(encoded, options)
        except re2.error as error:
            words = error.args[0]
            raise RegexpError(
                words.decode(errors="replace") if isinstance(words, bytes) else str(words)
            ) from error

    def search(self, text: str) -> bool:
        """Whether a part of the text matches."""
        return self._compiled.search(_encode(text)) is not None

    def fullmatch(self, text: str) -> bool:
        return self._compiled.fullmatch(_encode(text)) is not None


def _encode(text: str) -> bytes:
    """UTF-8. JSON may hold halves of characters: they match nothing."""
    return text.encode(errors="surrogatepass")


@lru_cache(maxsize=64)
def compile_regexp(pattern: str) -> Regexp:
    """Raises RegexpError."""
    return Regexp(pattern)
