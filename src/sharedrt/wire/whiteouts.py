"""Whiteouts: how a layer's tar says that something of the layers below is gone.

Spec: OCI image layer filesystem changeset, "Whiteouts". ``DIR/.wh.NAME`` removes ``NAME``;
``DIR/.wh..wh..opq`` hides all that the layers below have in ``DIR``. Neither ever hides what its own
layer has, whatever the order.
"""

from typing import Final, NamedTuple

from sharedrt.model.faults import InvalidArgument

PREFIX: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"
_RESERVED: Final = b".wh..wh."


class Whiteout(NamedTuple):
    """``name`` in the same folder is gone."""

    name: bytes


class Opaque(NamedTuple):
    """The folder starts empty."""


class Bookkeeping(NamedTuple):
    """aufs's own (``.wh..wh.plnk``, ``.wh..wh.aufs``): no content of the layer."""


def classify(base: bytes) -> Whiteout | Opaque | Bookkeeping | None:
    """What the last part of an entry's path stands for; ``None``: itself.

    Raises:
        InvalidArgument: a whiteout of nothing, of ``.`` or of ``..``.
    """
    if not base.startswith(PREFIX):
        return None
    if base == OPAQUE:
        return Opaque()
    if base.startswith(_RESERVED):
        return Bookkeeping()
    name = base[len(PREFIX) :]
    if name in (b"", b".", b".."):
        raise InvalidArgument("whiteout", base.decode(), "names no file")
    return Whiteout(name)


def whiteout(name: bytes) -> bytes:
    """The name that says that ``name`` is gone."""
    return PREFIX + name
