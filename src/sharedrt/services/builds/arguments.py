"""ARG: which values a build's arguments have, and where (Dockerfile reference, "ARG")."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sharedrt.wire.dockerfile.instructions import Arg, Step
from sharedrt.wire.platforms import Platform

Expand = Callable[[str, Mapping[str, str]], str]

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PROXIES: Final = frozenset((*_PROXIES, *(name.lower() for name in _PROXIES)))
"""Known to every RUN without an ARG, and no part of the cache or the history."""
EPOCH: Final = "SOURCE_DATE_EPOCH"


def platform_arguments(target: Platform, build: Platform, stage: str) -> dict[str, str]:
    """Predefined in the global scope; in a stage once an ARG names them."""
    values: dict[str, str] = {}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        values |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return {**values, "TARGETSTAGE": stage or "default"}


class Arguments:
    """Of one build: what the client gave, and what was declared before the first FROM.

    Args:
        given: by the client.
        predefined: by :func:`platform_arguments`.
    """

    def __init__(self, given: Mapping[str, str | None], predefined: Mapping[str, str]) -> None:
        self.given = {name: value for name, value in given.items() if value is not None}
        self._predefined = dict(predefined)
        self._global: dict[str, str] = {}
        self._used: set[str] = set()

    def declare_global(self, steps: Sequence[Step], expand: Expand) -> None:
        """Raises DockerfileError."""
        for step in steps:
            assert isinstance(step.instruction, Arg)
            for name, default in step.instruction.pairs:
                self._used.add(name)
                value = self.given.get(name)
                if value is None and default is not None:
                    value = expand(default, self.in_from)
                if value is None:
                    value = self._predefined.get(name)
                if value is not None:
                    self._global[name] = value

    @property
    def in_from(self) -> dict[str, str]:
        """What FROM lines may use."""
        return {**self._predefined, **self._global}

    def value(self, name: str, default: str | None) -> str | None:
        """Of an ARG inside a stage; ``None``: it has none."""
        self._used.add(name)
        if (given := self.given.get(name)) is not None:
            return given
        if default is not None:
            return default
        return self._global.get(name, self._predefined.get(name))

    @property
    def proxies(self) -> dict[str, str]:
        return {name: value for name, value in self.given.items() if name in PROXIES}

    @property
    def unused(self) -> list[str]:
        """Given, and declared nowhere."""
        known = self._used | PROXIES | set(self._predefined) | {EPOCH}
        return sorted(name for name in self.given if name not in known)

    @property
    def epoch(self) -> str | None:
        """``SOURCE_DATE_EPOCH``, as given or declared before the first FROM."""
        return self.given.get(EPOCH, self._global.get(EPOCH))
