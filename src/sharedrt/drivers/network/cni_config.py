"""CNI network configurations in a folder (CNI spec 1.1, section 1): which one is the default network."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SUFFIXES: Final = (".conflist", ".conf", ".json")
VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_SIZE_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class NetworkConfiguration:
    """A usable configuration; ``plugins`` as written, in the order of ADD."""

    name: str
    cni_version: str
    plugins: tuple[Mapping[str, Any], ...]
    disable_check: bool = False

    @property
    def with_previous_on_delete(self) -> bool:
        """DEL is given ADD's result from this version of the specification on."""
        return VERSIONS.index(self.cni_version) >= VERSIONS.index("0.4.0")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "cniVersion": self.cni_version,
            "plugins": [dict(plugin) for plugin in self.plugins],
        }


class ConfigurationError(Exception):
    """Why a configuration cannot be used, in a few words."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a folder gives: the first usable configuration, and what is wrong with those before it."""

    network: NetworkConfiguration | None = None
    problems: tuple[str, ...] = ()


class ConfigurationFolder:
    """The first usable file in alphabetical order wins, as with every runtime. Read again when the folder
    has changed; looking costs one stat a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[tuple[str, int, int, int], ...] | None = None
        self._selection = Selection()

    def current(self) -> Selection:
        seen = self._look()
        if seen != self._seen:
            self._selection = _select(self._folder, [entry[0] for entry in seen])
            self._seen = seen
        return self._selection

    def _look(self) -> tuple[tuple[str, int, int, int], ...]:
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not entry.name.endswith(SUFFIXES):
                        continue
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue  # gone meanwhile, or a dangling link
                    found.append((entry.name, status.st_mtime_ns, status.st_size, status.st_ino))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return tuple(sorted(found))


def _select(folder: Path, names: Sequence[str]) -> Selection:
    problems = []
    for name in names:
        try:
            with open(folder / name, "rb") as file:
                network = parse_configuration(file.read(_SIZE_MAX))
        except (OSError, ConfigurationError) as error:
            problems.append(f"{folder / name}: {error}")
        else:
            return Selection(network, tuple(problems))
    return Selection(None, tuple(problems))


def parse_configuration(data: bytes) -> NetworkConfiguration:
    """A list of plugins, or a single plugin's configuration, which becomes a list of one.

    Raises:
        ConfigurationError: malformed, without a required key, or of no version that we speak.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise ConfigurationError(f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError("not a JSON object")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigurationError("key 'name' is missing")
    if "type" in document and "plugins" not in document:
        plugins: object = [document]
    else:
        plugins = document.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise ConfigurationError("key 'plugins' is missing or empty")
    for plugin in plugins:
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str):
            raise ConfigurationError("a plugin has no 'type'")
        if "/" in plugin["type"] or plugin["type"] in ("", ".", ".."):
            raise ConfigurationError(f"plugin type {plugin['type']!r} is no file name")
    return NetworkConfiguration(
        name, _version(document), tuple(plugins), bool(document.get("disableCheck", False))
    )


def _version(document: Mapping[str, Any]) -> str:
    offered = document.get("cniVersions")
    known = [v for v in VERSIONS if v in offered] if isinstance(offered, list) else []
    if known:
        return known[-1]
    version = document.get("cniVersion")
    if version not in VERSIONS:
        raise ConfigurationError(f"cniVersion {version!r} is not one of {', '.join(VERSIONS)}")
    return str(version)
