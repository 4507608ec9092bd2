"""Manifests, indexes and image configurations: JSON bytes in, checked values out.

Spec: OCI image spec, "Image Manifest", "Image Index", "Image Configuration"; Docker's schema 2 differs by
media types and by a few keys of the configuration (Healthcheck, Shell, OnBuild) only. All input is
hostile: every field that is used has its type checked, and all counts are bounded.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.ids import Digest, SnapshotKey, parse_digest
from sharedrt.model.records import Descriptor, Json
from sharedrt.wire import media_types
from sharedrt.wire.go_json import read_valid_text
from sharedrt.wire.go_numbers import MAX_INT64

MAX_LAYERS: Final = 512
MAX_INDEX_ENTRIES: Final = 4096


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's manifest. ``layers`` has the base layer first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index or manifest list."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step of an image's making; ``created`` as RFC 3339 text."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """Docker's extension. Durations in nanoseconds, 0: inherited or the default."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's configuration; ``raw`` is all of it, as it was parsed."""

    architecture: str
    os: str
    diff_ids: tuple[Digest, ...]
    variant: str = ""
    created: str = ""
    """RFC 3339 text, or empty."""
    author: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    onbuild: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    raw: Json = None

    @property
    def platform(self) -> str:
        """``os/architecture[/variant]``."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def chain_ids(self) -> tuple[SnapshotKey, ...]:
        """The chain id of each layer, base layer first."""
        return chain_ids(self.diff_ids)


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[SnapshotKey, ...]:
    """OCI image spec, "Layer ChainID": the first is the diff id, each further one hashes the one below
    and its own diff id."""
    chain: list[SnapshotKey] = []
    for diff_id in diff_ids:
        if not chain:
            chain.append(SnapshotKey(diff_id))
        else:
            joined = f"{chain[-1]} {diff_id}".encode()
            chain.append(SnapshotKey("sha256:" + hashlib.sha256(joined).hexdigest()))
    return tuple(chain)


def parse_target(data: bytes, media_type: str = "") -> Manifest | Index:
    """Parse what a tag points at.

    Args:
        media_type: what the registry or the descriptor says; the document's own ``mediaType`` must not
            contradict it (a manifest must not be read as an index, OCI image spec CVE-2021-41190).

    Raises:
        InvalidArgument: malformed. Unimplemented: schema 1, or something that is no image.
    """
    document = _object(_load(data, "manifest"), "manifest")
    stated = _text(document, "mediaType", "manifest")
    kind = media_type or stated
    if kind in media_types.SCHEMA1 or document.get("schemaVersion") == 1:
        raise Unimplemented(
            "image manifest version 2, schema 1 (rebuild or push the image again with a newer tool)"
        )
    if stated and media_type and stated != media_type:
        raise InvalidArgument("manifest", media_type, f"says of itself to be {stated}")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise InvalidArgument("manifest", kind, "is both a manifest and an index")
    if kind in media_types.INDEXES or (not kind and "manifests" in document):
        return _index(document, kind or media_types.OCI_INDEX)
    if kind in media_types.MANIFESTS or (not kind and "layers" in document):
        return _manifest(document, kind or media_types.OCI_MANIFEST)
    raise Unimplemented(f"media type {kind or 'unknown'} as an image manifest")


def parse_config(data: bytes) -> ImageConfig:
    """Raises InvalidArgument when malformed."""
    what = "image configuration"
    document = _object(_load(data, what), what)
    rootfs = _object(document.get("rootfs") or {}, f"{what}: rootfs")
    inner = _object(document.get("config") or {}, f"{what}: config")
    diff_ids = _texts(rootfs, "diff_ids", what)
    if len(diff_ids) > MAX_LAYERS:
        raise InvalidArgument(what, len(diff_ids), f"more than {MAX_LAYERS} layers")
    return ImageConfig(
        architecture=_text(document, "architecture", what),
        os=_text(document, "os", what),
        variant=_text(document, "variant", what),
        created=_text(document, "created", what),
        author=_text(document, "author", what),
        diff_ids=tuple(parse_digest(text) for text in diff_ids),
        entrypoint=_texts(inner, "Entrypoint", what),
        cmd=_texts(inner, "Cmd", what),
        env=_texts(inner, "Env", what),
        cwd=_text(inner, "WorkingDir", what),
        user=_text(inner, "User", what),
        exposed_ports=_keys(inner, "ExposedPorts", what),
        volumes=_keys(inner, "Volumes", what),
        labels=_labels(inner, "Labels", what),
        stop_signal=_text(inner, "StopSignal", what),
        healthcheck=_healthcheck(inner.get("Healthcheck")),
        shell=_texts(inner, "Shell", what),
        onbuild=_texts(inner, "OnBuild", what),
        history=tuple(_history(entry) for entry in _list(document, "history", what)),
        raw=document,
    )


def parse_descriptor(value: Json, what: str) -> Descriptor:
    """Raises InvalidArgument."""
    entry = _object(value, what)
    size = entry.get("size")
    if type(size) is not int or not 0 <= size < 1 << 62:
        raise InvalidArgument(what, str(size), "size is no valid number of bytes")
    return Descriptor(
        media_type=_text(entry, "mediaType", what),
        digest=parse_digest(_text(entry, "digest", what)),
        size=size,
        annotations=_labels(entry, "annotations", what),
        platform=_platform(entry.get("platform"), what),
    )


def descriptor_json(descriptor: Descriptor) -> dict[str, Json]:
    """The inverse of :func:`parse_descriptor`."""
    out: dict[str, Json] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        out["annotations"] = dict(descriptor.annotations)
    if descriptor.platform:
        os, architecture, *variant = descriptor.platform.split("/")
        platform: dict[str, Json] = {"architecture": architecture, "os": os}
        if variant:
            platform["variant"] = variant[0]
        out["platform"] = platform
    return out


def _manifest(document: dict[str, Json], media_type: str) -> Manifest:
    what = "manifest"
    layers = _list(document, "layers", what)
    if len(layers) > MAX_LAYERS:
        raise InvalidArgument(what, len(layers), f"more than {MAX_LAYERS} layers")
    return Manifest(
        media_type=media_type,
        config=parse_descriptor(document.get("config"), "manifest: config"),
        layers=tuple(parse_descriptor(entry, "manifest: layer") for entry in layers),
        annotations=_labels(document, "annotations", what),
    )


def _index(document: dict[str, Json], media_type: str) -> Index:
    entries = _list(document, "manifests", "index")
    if len(entries) > MAX_INDEX_ENTRIES:
        raise InvalidArgument("index", len(entries), f"more than {MAX_INDEX_ENTRIES} entries")
    return Index(
        media_type=media_type,
        manifests=tuple(parse_descriptor(entry, "index: manifest") for entry in entries),
        annotations=_labels(document, "annotations", "index"),
    )


def _healthcheck(value: Json) -> Healthcheck | None:
    if value is None:
        return None
    what = "image configuration: Healthcheck"
    entry = _object(value, what)
    return Healthcheck(
        test=_texts(entry, "Test", what),
        interval_ns=_int(entry, "Interval", what),
        timeout_ns=_int(entry, "Timeout", what),
        start_period_ns=_int(entry, "StartPeriod", what),
        start_interval_ns=_int(entry, "StartInterval", what),
        retries=_int(entry, "Retries", what),
    )


def _history(value: Json) -> HistoryEntry:
    what = "image configuration: history"
    entry = _object(value, what)
    return HistoryEntry(
        created=_text(entry, "created", what),
        created_by=_text(entry, "created_by", what),
        author=_text(entry, "author", what),
        comment=_text(entry, "comment", what),
        empty_layer=entry.get("empty_layer") is True,
    )


def _platform(value: Json, what: str) -> str:
    if value is None:
        return ""
    entry = _object(value, what)
    parts = (_text(entry, key, what) for key in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if part)


def _load(data: bytes, what: str) -> Json:
    try:
        value: Json = read_valid_text(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(what, data[:32], "not valid JSON") from error
    return value


def _object(value: Json, what: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise InvalidArgument(what, type(value).__name__, "not a JSON object")
    return value


def _list(entry: dict[str, Json], key: str, what: str) -> list[Json]:
    value = entry.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidArgument(what, key, "not a JSON array")
    return value


def _text(entry: dict[str, Json], key: str, what: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgument(what, key, "not a string")
    return value


def _int(entry: dict[str, Json], key: str, what: str) -> int:
    value = entry.get(key)
    if value is None:
        return 0
    if type(value) is not int or not -MAX_INT64 - 1 <= value <= MAX_INT64:
        raise InvalidArgument(what, key, "not a number of 64 bits")
    return value


def _texts(entry: dict[str, Json], key: str, what: str) -> tuple[str, ...]:
    value = entry.get(key)
    if isinstance(value, str) and key != "diff_ids":
        # Images of very old builders have a command as one string; Docker reads it as one word.
        return (value,)
    out = []
    for item in _list(entry, key, what):
        if not isinstance(item, str):
            raise InvalidArgument(what, key, "not an array of strings")
        out.append(item)
    return tuple(out)


def _keys(entry: dict[str, Json], key: str, what: str) -> tuple[str, ...]:
    value = entry.get(key)
    return tuple(_object(value, f"{what}: {key}")) if value is not None else ()


def _labels(entry: dict[str, Json], key: str, what: str) -> dict[str, str]:
    value = entry.get(key)
    if value is None:
        return {}
    out = {}
    for name, text in _object(value, f"{what}: {key}").items():
        if not isinstance(text, str):
            raise InvalidArgument(what, key, f"value of {name!r} is not a string")
        out[name] = text
    return out
