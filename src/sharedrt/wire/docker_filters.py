"""Docker's ``filters`` parameter: JSON, in either of its two historical shapes.

``{"label": ["a=b"]}`` is what the API documents; ``{"label": {"a=b": true}}`` is what the CLI sends.
"""

import json
from collections.abc import Iterable, Mapping

from sharedrt.wire.go_regexp import RegexpError, compile_regexp


class FilterError(ValueError):
    """The parameter is malformed, or names a filter that the endpoint does not have."""


class Filters:
    """Values by filter name. A filter that was not given lets everything pass."""

    def __init__(self, values: Mapping[str, frozenset[str]]) -> None:
        self._values = values

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def adding(self, name: str, value: str) -> "Filters":
        """These, with one more value of a filter."""
        return Filters({**self._values, name: self.get(name) | {value}})

    def get(self, name: str) -> frozenset[str]:
        return self._values.get(name, frozenset())

    def one(self, name: str) -> str | None:
        """The value of a filter that takes one; ``None`` when it was not given."""
        values = self._values.get(name)
        if not values:
            return None
        if len(values) > 1:
            raise FilterError(f"invalid filter '{name}={sorted(values)}': takes one value")
        return next(iter(values))

    def boolean(self, name: str) -> bool | None:
        """The value of a yes/no filter; ``None`` when it was not given, or given both ways."""
        values = {_boolean(name, value) for value in self._values.get(name, ())}
        return values.pop() if len(values) == 1 else None

    def check(self, known: Iterable[str]) -> None:
        """Raises FilterError for a filter outside ``known``."""
        for name in self._values:
            if name not in known:
                raise FilterError(f"invalid filter '{name}'")

    def exact(self, name: str, value: str) -> bool:
        """Not given, or ``value`` is among its values."""
        values = self._values.get(name)
        return not values or value in values

    def matches(self, name: str, value: str) -> bool:
        """Not given, or one of its values is a regular expression found in ``value``."""
        values = self._values.get(name)
        if not values:
            return True
        return any(value == wanted or _search(wanted, value) for wanted in values)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """Every ``key`` or ``key=value`` given is among ``labels``."""
        return all(_has_label(labels, wanted) for wanted in self._values.get(name, ()))

    def without_labels(self, labels: Mapping[str, str], name: str = "label!") -> bool:
        """None of the ``key`` or ``key=value`` given is among ``labels``."""
        return not any(_has_label(labels, unwanted) for unwanted in self._values.get(name, ()))


def parse_filters(text: str) -> Filters:
    """Raises FilterError."""
    if not text:
        return Filters({})
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"invalid filter: {error}") from error
    if data is None:
        return Filters({})
    if not isinstance(data, dict):
        raise FilterError("invalid filter: not an object")
    return Filters({name: _values(name, item) for name, item in data.items()})


def _values(name: str, item: object) -> frozenset[str]:
    if isinstance(item, dict):
        return frozenset(str(key) for key, chosen in item.items() if chosen)
    if isinstance(item, list) and all(isinstance(value, str) for value in item):
        return frozenset(item)
    raise FilterError(f"invalid filter '{name}': neither a list of strings nor an object")


def _boolean(name: str, value: str) -> bool:
    if value.lower() in ("1", "true", "t"):
        return True
    if value.lower() in ("0", "false", "f"):
        return False
    raise FilterError(f"invalid filter '{name}=[{value}]'")


def _search(pattern: str, text: str) -> bool:
    """As in dockerd, what is no expression is found nowhere."""
    try:
        return compile_regexp(pattern).search(text)
    except RegexpError:
        return False


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
