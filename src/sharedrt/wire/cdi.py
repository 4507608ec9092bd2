"""Container Device Interface: what a vendor's file says a device needs inside a container.

Spec: CNCF CDI, SPEC.md, versions 0.3.0 to 1.0.0 (of 1.1.0 all but network devices). Such a file, JSON or YAML:

    cdiVersion: 0.6.0
    kind: vendor.com/class
    devices:
    - name: gpu0
      containerEdits: {env: [..], deviceNodes: [..], mounts: [..], hooks: [..], additionalGids: [..]}
    containerEdits: {..}          for every device of the file

A client asks for ``vendor.com/class=gpu0``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_VERSIONS: Final = re.compile(r"v?(0\.[1-9]|1\.[01])\.\d+")
_VENDOR: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_CLASS: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
HOOKS: Final = frozenset(
    ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
)
_REFUSED: Final = {"netDevices": "network devices", "intelRdt": "Intel RDT"}
"""Edits that are not made here: a device that has one is refused, and named."""


class CdiError(ValueError):
    """Why a file cannot be used, in a few words."""


@dataclass(frozen=True, slots=True)
class CdiNode:
    """A device node. ``None``: as the host's own at ``host_path`` is."""

    path: str
    host_path: str
    kind: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = "rwm"
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class CdiMount:
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class CdiHook:
    """A program of the host's, run at ``point`` (OCI's name) of the container's life."""

    point: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class CdiEdits:
    """Changes to a container. ``refused``: what else was asked for, in words."""

    env: tuple[str, ...] = ()
    nodes: tuple[CdiNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CdiSpec:
    """One file. ``kind`` is ``vendor/class``; ``edits`` go with each of its devices."""

    kind: str
    devices: Mapping[str, CdiEdits] = field(default_factory=dict)
    edits: CdiEdits = CdiEdits()


def split_name(name: str) -> tuple[str, str]:
    """``vendor/class=device`` as (kind, device). Raises CdiError."""
    kind, equals, device = name.partition("=")
    if not equals or not _NAME.fullmatch(device):
        raise CdiError("must be written vendor/class=device")
    _check_kind(kind)
    return kind, device


def parse_spec(data: bytes) -> CdiSpec:
    """A file's content, JSON (which is YAML, but read by the faster parser) or YAML.

    Raises:
        CdiError: malformed, of a version that is not known, or without what the spec requires.
    """
    document = _Reader(_load(data), "").object()
    version = document.text("cdiVersion")
    if not _VERSIONS.fullmatch(version):
        raise CdiError(f"cdiVersion {version!r} is not known")
    kind = document.text("kind")
    _check_kind(kind)
    devices: dict[str, CdiEdits] = {}
    for item in document.objects("devices"):
        name = item.text("name")
        if not _NAME.fullmatch(name):
            raise CdiError(f"device name {name!r} is not valid")
        if name in devices:
            raise CdiError(f"device {name!r} is there twice")
        devices[name] = _edits(item.child("containerEdits"))
    if not devices:
        raise CdiError("there are no devices")
    return CdiSpec(kind, devices, _edits(document.child("containerEdits")))


def _load(data: bytes) -> Any:
    if data.lstrip()[:1] == b"{":
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            pass  # YAML's own flow style looks alike
    import yaml  # here, for few hosts have such a file and every start would pay for it

    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CdiError(f"neither JSON nor YAML: {' '.join(str(error).split())}") from error


def _check_kind(kind: str) -> None:
    vendor, slash, class_ = kind.partition("/")
    if not slash or not _VENDOR.fullmatch(vendor) or not _CLASS.fullmatch(class_):
        raise CdiError(f"kind {kind!r} is not vendor/class")


def _edits(edits: "_Reader") -> CdiEdits:
    env = edits.texts("env")
    if bad := [entry for entry in env if entry.partition("=")[0] in ("", entry)]:
        raise CdiError(f"env {bad[0]!r} is not NAME=value")
    return CdiEdits(
        env=env,
        nodes=tuple(_node(item) for item in edits.objects("deviceNodes")),
        mounts=tuple(_mount(item) for item in edits.objects("mounts")),
        hooks=tuple(_hook(item) for item in edits.objects("hooks")),
        additional_gids=edits.numbers("additionalGids"),
        refused=tuple(words for key, words in _REFUSED.items() if edits.has(key)),
    )


def _node(item: "_Reader") -> CdiNode:
    path = item.text("path")
    permissions = item.text("permissions", "rwm")
    if set(permissions) - set("rwm"):
        raise CdiError(f"device {path!r}: permissions {permissions!r} are not out of rwm")
    kind = item.text("type", "")
    if kind not in ("", "b", "c", "u", "p"):
        raise CdiError(f"device {path!r}: type {kind!r} is not known")
    return CdiNode(
        path=path,
        host_path=item.text("hostPath", path),
        kind="c" if kind == "u" else kind,
        major=item.number("major"),
        minor=item.number("minor"),
        file_mode=item.number("fileMode"),
        permissions=permissions,
        uid=item.number("uid"),
        gid=item.number("gid"),
    )


def _mount(item: "_Reader") -> CdiMount:
    return CdiMount(
        item.text("hostPath"),
        item.text("containerPath"),
        item.texts("options"),
        item.text("type", ""),
    )


def _hook(item: "_Reader") -> CdiHook:
    point = item.text("hookName")
    if point not in HOOKS:
        raise CdiError(f"hook {point!r} is not known")
    return CdiHook(
        point, item.text("path"), item.texts("args"), item.texts("env"), item.number("timeout")
    )


class _Reader:
    """Typed reading of a JSON-like value; says where when a type is wrong."""

    def __init__(self, value: Any, where: str) -> None:
        self._value, self._where = value, where

    def object(self) -> "_Reader":
        if not isinstance(self._value, dict):
            raise CdiError(f"{self._where or 'the file'} must be an object")
        return self

    def has(self, key: str) -> bool:
        return bool(self._value.get(key))

    def child(self, key: str) -> "_Reader":
        """An object; an empty one when it is not there."""
        value = self._value.get(key)
        return _Reader({} if value is None else value, self._path(key)).object()

    def objects(self, key: str) -> "list[_Reader]":
        return [_Reader(item, self._path(key)).object() for item in self._list(key)]

    def text(self, key: str, default: str | None = None) -> str:
        value = self._value.get(key)
        if value is None or value == "":
            if default is None:
                raise CdiError(f"{self._path(key)} is missing")
            return default
        if not isinstance(value, str):
            raise CdiError(f"{self._path(key)} must be text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        items = self._list(key)
        if not all(isinstance(item, str) for item in items):
            raise CdiError(f"{self._path(key)} must be a list of texts")
        return tuple(items)

    def number(self, key: str) -> int | None:
        value = self._value.get(key)
        if value is not None and (type(value) is not int or value < 0):
            raise CdiError(f"{self._path(key)} must be a number")
        return value

    def numbers(self, key: str) -> tuple[int, ...]:
        items = self._list(key)
        if not all(type(item) is int and item >= 0 for item in items):
            raise CdiError(f"{self._path(key)} must be a list of numbers")
        return tuple(items)

    def _list(self, key: str) -> list[Any]:
        value = self._value.get(key)
        if value is not None and not isinstance(value, list):
            raise CdiError(f"{self._path(key)} must be a list")
        return value or []

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key
