"""Reading JSON objects as Go's decoder does: key names in any case, ``null`` as absent, wrong types refused."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from sharedrt.edges.docker.words import bad_request
from sharedrt.model.records import Json
from sharedrt.wire.go_numbers import MAX_INT64

MAX_ENTRIES: Final = 10_000
"""In one list or map. Each is work on the loop, here and with each listing; who means it has far fewer."""
_MAX_ENTRIES_OF: Final = {
    "Cmd": 1 << 20,
    "Entrypoint": 1 << 20,
    "Env": 1 << 20,
    "ExposedPorts": 1 << 18,
    "PortBindings": 1 << 18,
}
"""The words of a command line, and all ports of each protocol."""


class Fields:
    """A JSON object whose fields are read by type.

    All methods raise a Refusal (400) that names the field when the value has another type, or too many entries.
    """

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        self._data = data
        self._path = path
        self._folded: dict[str, str] | None = None

    def __contains__(self, name: str) -> bool:
        return self._get(name) is not None

    @property
    def raw(self) -> dict[str, Json]:
        """The object as it came."""
        return dict(self._data)

    def text(self, name: str, default: str = "") -> str:
        return cast(str, self._typed(name, str, "string", default))

    def boolean(self, name: str, default: bool = False) -> bool:
        return cast(bool, self._typed(name, bool, "bool", default))

    def optional_boolean(self, name: str) -> bool | None:
        return cast("bool | None", self._typed(name, bool, "bool", None))

    def integer(self, name: str, default: int = 0) -> int:
        value = self.optional_integer(name)
        return default if value is None else value

    def optional_integer(self, name: str) -> int | None:
        value = self._get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._refuse(name, value, "int64")
        if not -MAX_INT64 - 1 <= value <= MAX_INT64:
            raise self._refuse(name, value, "int64")
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        return self.optional_strings(name) or ()

    def optional_strings(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, or one string (Docker's StrSlice, as in ``Cmd``)."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._refuse(name, value, "[]string")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, str]:
        """A map of strings."""
        value = self._get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._refuse(name, value, "map[string]string")
        return dict(value)

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys of a map used as a set (ExposedPorts, Volumes)."""
        value = self._get(name)
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise self._refuse(name, value, "map[string]struct {}")
        return tuple(value)

    def sub(self, name: str) -> "Fields":
        """A nested object; an empty one when it is absent."""
        value = self._get(name)
        if value is None:
            return Fields({}, self._sub(name))
        if not isinstance(value, dict):
            raise self._refuse(name, value, "object")
        return Fields(value, self._sub(name))

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects."""
        value = self._get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._refuse(name, value, "[]object")
        return [Fields(item, f"{self._sub(name)}[{i}]") for i, item in enumerate(value)]

    def items(self, name: str) -> "Iterator[tuple[str, Fields]]":
        """A map of objects; ``null`` values are empty objects."""
        value = self._get(name)
        if value is None:
            return
        if not isinstance(value, dict):
            raise self._refuse(name, value, "map[string]object")
        for key, item in value.items():
            if item is not None and not isinstance(item, dict):
                raise self._refuse(f"{name}[{key}]", item, "object")
            yield key, Fields(item or {}, f"{self._sub(name)}[{key}]")

    def lists(self, name: str) -> "Iterator[tuple[str, list[Fields]]]":
        """A map of lists of objects (PortBindings); ``null`` values are empty lists."""
        value = self._get(name)
        if value is None:
            return
        if not isinstance(value, dict):
            raise self._refuse(name, value, "map[string][]object")
        outer = Fields(value, self._sub(name))
        for key in value:
            yield key, outer.objects(key)

    def _get(self, name: str) -> Any:
        if name in self._data:
            value = self._data[name]
        else:
            if self._folded is None:
                self._folded = {key.lower(): key for key in self._data}
            key = self._folded.get(name.lower())
            value = None if key is None else self._data[key]
        if isinstance(value, list | dict):
            most = _MAX_ENTRIES_OF.get(name, MAX_ENTRIES)
            if len(value) > most:
                raise bad_request(f"{self._sub(name)}: {len(value)} entries are more than {most}")
        return value

    def _typed(self, name: str, cls: type, go_type: str, default: Any) -> Any:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, cls):
            raise self._refuse(name, value, go_type)
        return value

    def _sub(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _refuse(self, name: str, value: object, go_type: str) -> Exception:
        kind = {
            bool: "bool",
            int: "number",
            float: "number",
            str: "string",
            list: "array",
            dict: "object",
        }.get(type(value), type(value).__name__)
        return bad_request(
            f"invalid JSON: cannot unmarshal {kind} into field {self._sub(name)} of type {go_type}"
        )
