"""From what a client asked to be mounted to host paths that exist."""

import asyncio
import os
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import ResolvedMount
from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.spec import Mount, MountKind

_PROPAGATIONS: Final = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})


async def resolve_mounts(mounts: tuple[Mount, ...]) -> tuple[ResolvedMount, ...]:
    """Settle each mount's source.

    Raises:
        InvalidArgument: a bind's source is missing, or a target or propagation makes no sense.
        Unimplemented: a kind that has no driver here.
    """
    return tuple([await _resolve(mount) for mount in mounts])


async def _resolve(mount: Mount) -> ResolvedMount:
    if not mount.target.startswith("/"):
        raise InvalidArgument("mount target", mount.target, "must be an absolute path")
    if mount.propagation and mount.propagation not in _PROPAGATIONS:
        raise InvalidArgument("mount propagation", mount.propagation, "unknown")
    match mount.kind:
        case MountKind.BIND:
            source = await asyncio.to_thread(_bind_source, mount)
            options = ["rbind", mount.propagation or "rprivate", "ro" if mount.readonly else "rw"]
            if mount.recursive_readonly:
                options.append("rro")
            return ResolvedMount(source, mount.target, "bind", (*options, *mount.options))
        case MountKind.TMPFS:
            options = ["nosuid", "nodev"] + ([] if "exec" in mount.options else ["noexec"])
            if mount.readonly:
                options.append("ro")
            return ResolvedMount("tmpfs", mount.target, "tmpfs", (*options, *mount.options))
        case MountKind.IMAGE | MountKind.VOLUME:
            raise Unimplemented(f"a mount of kind {mount.kind.value}")


def _bind_source(mount: Mount) -> str:
    if not mount.source.startswith("/"):
        raise InvalidArgument("bind source", mount.source, "must be an absolute path")
    source = os.path.realpath(mount.source)
    try:
        os.stat(source)
    except FileNotFoundError:
        if not mount.create_source:
            raise InvalidArgument(
                'mount config for type "bind"',
                mount.source,
                f"bind source path does not exist: {mount.source}",
            ) from None
        Path(source).mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument("bind source", mount.source, error.strerror or str(error)) from error
    return source
