"""What a worker does with a container's root file system: look, pack, extract. For the worker's side only.

With mounts the worker moves to a mount namespace of its own, where the container's root is all there is and
the mounts are put on it: they end with the worker, however it ends.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Final

from sharedrt.drivers import libc, mountapi
from sharedrt.drivers.unpack import confine, messages
from sharedrt.drivers.unpack.apply import ArchiveRules, LayerWriter, SetAttribute
from sharedrt.drivers.unpack.gather import cat, gather, survey
from sharedrt.drivers.unpack.messages import Message
from sharedrt.drivers.unpack.pack import pack, resolve, shown_name
from sharedrt.drivers.unpack.scan import IdMap
from sharedrt.drivers.unpack.selection import leave_out
from sharedrt.drivers.unpack.streams import LayerStream
from sharedrt.model.faults import InvalidArgument, NotFound, PermissionDenied
from sharedrt.wire.dockerignore import parse_patterns
from sharedrt.wire.tar.decoder import TarDecoder

_FOLDER: Final = 4
_STREAM: Final = 5


def run(order: Message, report: socket.socket, helper: int) -> Message:
    """Do the job; its result. Raises faults, OSError."""
    if order["job"] == "extract":
        return _extract(order, report, helper)
    if order["job"] == "leave out":
        confine.enter_root(_FOLDER)
        confine.keep_capabilities(confine.APPLY_CAPABILITIES)
        confine.die_with_parent(helper)
        leave_out(parse_patterns(order["patterns"]))
        return {"type": "result"}
    _enter(order, make_targets=False)
    confine.keep_capabilities(confine.DIFF_CAPABILITIES)
    confine.die_with_parent(helper)
    ids = (IdMap(order["uid_mappings"]), IdMap(order["gid_mappings"]))
    path = order["path"]
    match order["job"]:
        case "stat":
            return _info(path)[0]
        case "pack":
            message, resolved = _info(path)
            messages.send(report, message)
            prefix = os.fsencode(message["name"])
        case "survey":
            return survey(order, ids)
        case "gather" | "cat":
            with open(_STREAM, "wb", buffering=1 << 18) as sink:
                if order["job"] == "cat":
                    cat(path, sink)
                else:
                    gather(order, sink, ids)
            return {"type": "result"}
        case _:
            resolved, prefix = "/", b""
    with open(_STREAM, "wb", buffering=1 << 18) as sink:
        pack(sink, resolved, prefix, ids)
    return {"type": "result"}


def attribute_setter(report: socket.socket) -> SetAttribute:
    """Asks the daemon to set an attribute for which a worker has no right."""

    def set_attribute(descriptor: int, name: bytes, value: bytes) -> None:
        message = {"type": "xattr", "name": name.hex(), "value": value.hex()}
        messages.send(report, message, [descriptor])

    return set_attribute


def _info(path: str) -> tuple[Message, str]:
    resolved, info, target = resolve(path)
    message: Message = {
        "type": "info",
        "name": shown_name(path),
        "size": info.st_size,
        "mode": info.st_mode,
        "mtime_ns": info.st_mtime_ns,
        "link_target": target,
    }
    return message, resolved


def _extract(order: Message, report: socket.socket, helper: int) -> Message:
    # First of all: a decompressor's module cannot be loaded from inside.
    stream = LayerStream(_STREAM, order["max_bytes"], lambda total: None)
    _enter(order, make_targets=True)
    confine.keep_capabilities(confine.APPLY_CAPABILITIES)
    confine.die_with_parent(helper)
    _go_to(order["path"], order["readonly"])
    owner = order["owner"]
    uids, gids = IdMap(order["uid_mappings"]), IdMap(order["gid_mappings"])

    def on_host(uid: int, gid: int) -> tuple[int, int]:
        if owner is not None:
            uid, gid = owner
        return uids.host_id(uid), gids.host_id(gid)

    parent_owner = on_host(*order["parent_owner"]) if order["parent_owner"] else (0, 0)
    rules = ArchiveRules(
        on_host, order["keep_types"], order["root_entry"], parent_owner, order["clean_names"]
    )
    writer = LayerWriter(order["max_entries"], attribute_setter(report), rules)
    decoder = TarDecoder()
    for chunk in stream.chunks():
        for event in decoder.receive_data(chunk):
            writer.write(event)
    decoder.receive_eof()
    writer.finish()
    return {"type": "result"}


def _go_to(path: str, root_readonly: bool) -> None:
    """Make the folder to extract into the working directory."""
    try:
        os.chdir(path)
    except FileNotFoundError as error:
        raise NotFound("path", path) from error
    except NotADirectoryError as error:
        raise InvalidArgument("path", path, "extraction point is not a directory") from error
    except OSError as error:
        raise InvalidArgument("path", path, error.strerror or str(error)) from error
    if os.statvfs(".").f_flag & os.ST_RDONLY:
        in_root = root_readonly and os.stat(".").st_dev == os.stat("/").st_dev
        what = "container rootfs" if in_root else "mounted volume"
        raise PermissionDenied(what, "is marked read-only")


# ---------------------------------------------------------------- the root


def _enter(order: Message, *, make_targets: bool) -> None:
    mounts = order["mounts"]
    if not mounts and not order["readonly"]:
        confine.enter_root(_FOLDER)
        return
    with _cloned(mounts) as trees:
        mountapi.enter_alone(_FOLDER)
        os.close(_FOLDER)
        # Shallow targets first: a deeper one lies on it.
        for target, tree in sorted(trees, key=lambda pair: pair[0].count("/")):
            _attach(tree, target, make_targets and not order["readonly"])
        if order["readonly"]:
            flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY
            libc.mount("none", "/", "", flags)


@contextlib.contextmanager
def _cloned(mounts: list[tuple[str, str, bool]]) -> Iterator[list[tuple[str, int]]]:
    """Targets with detached copies of what is to be there. Sources that have gone are left out."""
    with contextlib.ExitStack() as stack:
        found = []
        for source, target, readonly in mounts:
            try:
                tree = mountapi.clone_tree(source, recursive=True)
            except FileNotFoundError:
                continue
            stack.callback(os.close, tree)
            if readonly:
                mountapi.make_readonly(tree)
            found.append((target, tree))
        yield found


def _attach(tree: int, target: str, make: bool) -> None:
    """Put a tree at its target, whose links lead inside. A missing target is made as a runtime makes it."""
    make_target: Callable[[], None]
    if stat.S_ISDIR(os.fstat(tree).st_mode):

        def make_target() -> None:
            os.makedirs(target, 0o755, exist_ok=True)
    else:

        def make_target() -> None:
            os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))

    try:
        if make and not os.path.exists(target):
            make_target()
        mountapi.attach(tree, target)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError):
        return  # the container has something else there: it has never run with this mount
