"""An image on its way: what it is after some step."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import Descriptor, Json
from sharedrt.services.images import Image, NewLayer
from sharedrt.wire.oci_image import chain_ids, parse_config
from sharedrt.wire.platforms import Platform

NO_IMAGE: Final = Digest("")
DEFAULT_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL: Final = ("/bin/sh", "-c")


@dataclass(frozen=True)
class StageState:
    """``config`` is the ``config`` object of an image's configuration. ``image``: this state is that image, unchanged.

    ``base_id``: of the image that the stage began with; empty for ``scratch``.
    """

    platform: Platform
    config: Mapping[str, Any] = field(default_factory=dict)
    author: str = ""
    created: str = ""
    history: tuple[Json, ...] = ()
    layers: tuple[NewLayer, ...] = ()
    base_id: Digest = NO_IMAGE
    image: Image | None = None

    @cached_property
    def document(self) -> dict[str, Json]:
        """The image's configuration."""
        return {
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            **({"variant": self.platform.variant} if self.platform.variant else {}),
            **({"author": self.author} if self.author else {}),
            "created": self.created,
            "config": dict(self.config),
            "history": list(self.history),
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in self.layers]},
        }

    @cached_property
    def text(self) -> str:
        """The same, byte for byte."""
        return json.dumps(self.document, separators=(",", ":"))

    @cached_property
    def id(self) -> Digest:
        """What this step is shown as; empty for ``scratch`` itself."""
        if self.image is not None:
            return self.image.id
        if not self.history and not self.layers:
            return Digest("")
        return Digest("sha256:" + hashlib.sha256(self.text.encode()).hexdigest())

    @cached_property
    def chain(self) -> tuple[SnapshotKey, ...]:
        """Chain ids, base layer first."""
        return chain_ids([layer.diff_id for layer in self.layers])

    @property
    def env(self) -> dict[str, str]:
        pairs = (str(item).partition("=") for item in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.config.get("Shell") or DEFAULT_SHELL)

    @property
    def working_dir(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    def after(
        self,
        created: str,
        description: str,
        *,
        config: Mapping[str, Any] | None = None,
        layer: NewLayer | None = None,
        author: str | None = None,
        comment: str = "",
    ) -> "StageState":
        """One step on. A layer that changes nothing is left out."""
        kept = layer is not None and not layer.empty
        entry: dict[str, Json] = {"created": created, "created_by": description}
        if comment:
            entry["comment"] = comment
        if not kept:
            entry["empty_layer"] = True
        return replace(
            self,
            config=self.config if config is None else config,
            author=self.author if author is None else author,
            created=created,
            history=(*self.history, entry),
            layers=(*self.layers, layer) if layer is not None and kept else self.layers,
            image=None,
        )

    def as_image(self) -> Image:
        """For a container that runs on it. It has no rows, so that nobody else finds it."""
        if self.image is not None:
            return self.image
        config = parse_config(self.text.encode())
        return Image(
            id=self.base_id,
            target=Descriptor("", self.base_id, 0),
            manifest=self.base_id,
            references=(),
            config=config,
            layers=self.chain[::-1],
            content_size_bytes=0,
            unpacked_size_bytes=0,
            layer_blobs=tuple(layer.blob for layer in self.layers),
        )


def with_default_path(state: StageState) -> StageState:
    """Every stage's environment has a PATH; that alone makes no new image of it."""
    if "PATH" in state.env:
        return state
    env = [*(state.config.get("Env") or ()), DEFAULT_PATH]
    return replace(state, config={**state.config, "Env": env})


def state_of(image: Image, layers: tuple[NewLayer, ...]) -> StageState:
    """What a stage begins with whose FROM names this image."""
    raw: Mapping[str, Any] = image.config.raw if isinstance(image.config.raw, dict) else {}
    history = raw.get("history")
    config = image.config
    return StageState(
        platform=Platform(config.os, config.architecture, config.variant),
        config=dict(raw.get("config") or {}),
        author=config.author,
        created=config.created,
        history=tuple(history) if isinstance(history, list) else (),
        layers=layers,
        base_id=image.id,
        image=image,
    )


def restored(state: StageState, text: str, blobs: tuple[Descriptor, ...]) -> StageState:
    """The state that a cached step led to: its configuration and its layers' blobs."""
    config = parse_config(text.encode())
    raw: Any = config.raw
    layers = tuple(
        NewLayer(blob, diff_id) for blob, diff_id in zip(blobs, config.diff_ids, strict=True)
    )
    return StageState(
        platform=Platform(config.os, config.architecture, config.variant),
        config=dict(raw.get("config") or {}),
        author=config.author,
        created=config.created,
        history=tuple(raw.get("history") or ()),
        layers=layers,
        base_id=state.base_id,
    )
