"""``Binds``, ``Mounts``, ``Tmpfs``, ``Volumes`` and ``VolumesFrom``: what is mounted where."""

import posixpath
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.host_abilities import recursive_read_only
from sharedrt.edges.docker.translate_config import ContainerConfig
from sharedrt.edges.docker.translate_security import FindContainer
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.model.spec import Mount, MountKind
from sharedrt.services.volumes import DRIVER, NewVolume

_PROPAGATIONS: Final = frozenset(["private", "rprivate", "shared", "rshared", "slave", "rslave"])
_CONSISTENCIES: Final = frozenset(["default", "consistent", "cached", "delegated"])
"""For file sharing between a Mac and its Linux machine; they mean nothing on Linux."""

_TMPFS_FLAGS_TEXT: Final = (
    "async atime defaults dev diratime dirsync exec mand noatime nodev nodiratime noexec nomand norelatime "
    "nostrictatime nosuid private relatime rprivate rshared rslave runbindable ro rw shared slave "
    "strictatime suid sync unbindable"
)
_TMPFS_FLAGS: Final = frozenset(_TMPFS_FLAGS_TEXT.split())
_TMPFS_VALUES: Final = frozenset(["gid", "mode", "mpol", "nr_blocks", "nr_inodes", "size", "uid"])


def translate_mounts(
    host: Fields, config: ContainerConfig, find: FindContainer
) -> tuple[Mount, ...]:
    """All mounts, one for each target: Binds and Mounts win over VolumesFrom, and these over the VOLUMEs of image and
    client, which are anonymous volumes (with an empty source).

    Raises:
        Refusal: a malformed one, two at one target, or one of a kind that this daemon does not do.
        NotFound: a container named by VolumesFrom.
    """
    own = [parse_bind(text) for text in host.strings("Binds")]
    own += [_mount(item) for item in host.objects("Mounts")]
    own += [_tmpfs(path, options) for path, options in host.mapping("Tmpfs").items()]
    by_target: dict[str, Mount] = {}
    for mount in _from_others(host.strings("VolumesFrom"), find):
        by_target[mount.target] = mount
    seen: set[str] = set()
    for mount in own:
        if "\0" in f"{mount.source}{mount.target}{mount.sub_path}":
            raise bad_request("invalid mount path: a NUL character in it")
        if mount.target in seen:
            raise bad_request(f"Duplicate mount point: {mount.target}")
        seen.add(mount.target)
        by_target[mount.target] = mount
    for path in (*config.volumes, *config.image_volumes):
        target = clean_target(path)
        if target not in by_target:
            by_target[target] = Mount(MountKind.VOLUME, "", target)
    driver = host.text("VolumeDriver") or DRIVER
    if driver != DRIVER and any(m.kind is MountKind.VOLUME for m in by_target.values()):
        raise no_volume_driver(driver)
    return tuple(by_target.values())


def settle_binds(mounts: Iterable[Mount], *, recursive: bool, state_dir: str) -> tuple[Mount, ...]:
    """What a bind's propagation and read-only mean for this client and this host.

    Args:
        recursive: a read-only bind is so all the way down (:func:`versions.readonly_is_recursive`).
        state_dir: the daemon's own. A container that had a private copy of the mounts in there would keep them
            busy, so they go to it as a slave's.

    Raises:
        Refusal: another propagation asked for where the daemon's folder is in sight.
    """
    return tuple(_settle_bind(mount, recursive, state_dir) for mount in mounts)


def _settle_bind(mount: Mount, recursive: bool, state_dir: str) -> Mount:
    if mount.kind is not MountKind.BIND:
        return mount
    mount = replace(mount, recursive_readonly=mount.recursive_readonly and recursive)
    inside = f"{mount.source}/".startswith(f"{state_dir}/")
    if not inside and not f"{state_dir}/".startswith(f"{mount.source.rstrip('/')}/"):
        return mount
    if not mount.propagation:
        return replace(mount, propagation="rslave", propagation_default=True)
    if mount.propagation not in ("rslave", "rshared"):
        raise bad_request(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is '
            f'within the daemon root, daemon root: "{state_dir}", bind mount source: "{mount.source}", '
            f'propagation: "{mount.propagation}"'
        )
    return mount


def no_volume_driver(name: str) -> Refusal:
    """In dockerd's words: other drivers are plugins there."""
    return Refusal(404, f'error looking up volume plugin {name}: plugin "{name}" not found')


def translate_volumes(host: Fields) -> tuple[NewVolume, ...]:
    """Labels and options that Mounts give for volumes which are still to be made.

    Raises:
        Refusal: another driver than the local one.
    """
    volumes = []
    for item in host.objects("Mounts"):
        options = item.sub("VolumeOptions")
        driver = options.sub("DriverConfig")
        if item.text("Type") == "volume" and driver.text("Name") not in ("", DRIVER):
            raise no_volume_driver(driver.text("Name"))
        if item.text("Type") != "volume" or not options.raw or not item.text("Source"):
            continue
        volumes.append(
            NewVolume(
                item.text("Source"),
                driver=driver.text("Name") or DRIVER,
                options=driver.mapping("Options"),
                labels=options.mapping("Labels"),
            )
        )
    return tuple(volumes)


def clean_target(path: str) -> str:
    """An absolute target, normalized. Raises Refusal."""
    if not path.startswith("/"):
        raise bad_request(f"invalid mount path: '{path}' mount path must be absolute")
    cleaned = "/" + posixpath.normpath(path).lstrip("/")
    if cleaned == "/":
        raise bad_request("invalid volume specification: destination can't be '/'")
    return cleaned


def parse_bind(text: str) -> Mount:
    """``SOURCE:TARGET[:OPTIONS]``; a source that is no path is a volume's name. A target alone is an anonymous
    volume's."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts[:2]):
        raise bad_request(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return Mount(MountKind.VOLUME, "", clean_target(text))
    source, target = parts[0], clean_target(parts[1])
    options = _Modes(parts[2] if len(parts) == 3 else "", text)
    is_path = source.startswith("/")
    if not is_path and options.propagation:
        raise bad_request(f"invalid volume specification: '{text}'")
    return Mount(
        MountKind.BIND if is_path else MountKind.VOLUME,
        posixpath.normpath(source) if is_path else source,
        target,
        readonly=options.readonly,
        recursive_readonly=is_path and options.readonly and recursive_read_only(),
        propagation=options.propagation,
        create_source=is_path,
        nocopy=options.nocopy,
        selinux_relabel=options.relabel,
    )


class _Modes:
    """The comma-separated last part of a bind; each kind of mode at most once."""

    def __init__(self, text: str, whole: str) -> None:
        self.readonly, self.nocopy, self.propagation, self.relabel = False, False, "", ""
        seen: set[str] = set()
        for mode in filter(None, text.split(",")):
            kind = self._apply(mode)
            if not kind or kind in seen:
                raise bad_request(f"invalid mode: {text} (in '{whole}')")
            seen.add(kind)

    def _apply(self, mode: str) -> str:
        if mode in ("ro", "rw"):
            self.readonly = mode == "ro"
            return "write"
        if mode in ("z", "Z"):
            self.relabel = "shared" if mode == "z" else "private"
            return "label"
        if mode in _PROPAGATIONS:
            self.propagation = mode
            return "propagation"
        if mode == "nocopy":
            self.nocopy = True
            return "copy"
        return "consistency" if mode in _CONSISTENCIES else ""


def _mount(item: Fields) -> Mount:
    kind = item.text("Type")
    target = item.text("Target")
    if not target:
        raise _invalid(kind, "field Target must not be empty")
    target = clean_target(target)
    if item.text("Consistency") not in ("", *_CONSISTENCIES):
        raise _invalid(kind, f"invalid consistency: {item.text('Consistency')}")
    for other, name in (
        ("bind", "BindOptions"),
        ("volume", "VolumeOptions"),
        ("tmpfs", "TmpfsOptions"),
        ("image", "ImageOptions"),
    ):
        if kind != other and item.sub(name).raw:
            raise _invalid(kind, f"field {name} must not be specified")
    match kind:
        case "bind":
            return _bind_mount(item, target)
        case "tmpfs":
            return _tmpfs_mount(item, target)
        case "volume":
            options = item.sub("VolumeOptions")
            if not item.text("Source"):
                _check_anonymous(item, options)
            return Mount(
                MountKind.VOLUME,
                item.text("Source"),
                target,
                readonly=item.boolean("ReadOnly"),
                nocopy=options.boolean("NoCopy"),
                sub_path=_sub_path(kind, options),
            )
        case "image":
            if not item.text("Source"):
                raise _invalid(kind, "field Source must not be empty")
            return Mount(
                MountKind.IMAGE,
                item.text("Source"),
                target,
                readonly=True,
                sub_path=_sub_path(kind, item.sub("ImageOptions")),
            )
        case "cluster" | "npipe":
            raise not_implemented(f"a mount of type {kind}")
        case _:
            raise _invalid(kind, f'mount type unknown: "{kind}"')


def _check_anonymous(item: Fields, options: Fields) -> None:
    """A fresh volume has nothing to show."""
    if options.text("Subpath"):
        raise _invalid("volume", "must not set Subpath when using anonymous volumes")
    if item.boolean("ReadOnly"):
        raise _invalid("volume", "must not set ReadOnly mode when using anonymous volumes")


def _sub_path(kind: str, options: Fields) -> str:
    path = options.text("Subpath")
    if path.startswith("/") or ".." in path.split("/"):
        raise _invalid(kind, "subpath must be a relative path within the volume")
    return path


def _bind_mount(item: Fields, target: str) -> Mount:
    source, options = item.text("Source"), item.sub("BindOptions")
    if not source:
        raise _invalid("bind", "field Source must not be empty")
    if not source.startswith("/"):
        raise _invalid("bind", f"invalid mount path: '{source}' mount path must be absolute")
    propagation = options.text("Propagation")
    if propagation and propagation not in _PROPAGATIONS:
        raise _invalid("bind", f"invalid propagation mode: {propagation}")
    # As dockerd does: read-only means all that is mounted below, too, where the kernel can do that.
    recursive = item.boolean("ReadOnly") and not options.boolean("ReadOnlyNonRecursive")
    if options.boolean("ReadOnlyForceRecursive"):
        if not recursive:
            raise _invalid(
                "bind", "ReadOnlyForceRecursive needs ReadOnly, without ReadOnlyNonRecursive"
            )
        if propagation not in ("", "private", "rprivate"):
            raise _invalid("bind", "ReadOnlyForceRecursive needs private propagation")
        if not recursive_read_only():
            raise not_implemented(
                "ReadOnlyForceRecursive on this host's kernel (Linux 5.12 needed)"
            )
    return Mount(
        MountKind.BIND,
        posixpath.normpath(source),
        target,
        readonly=item.boolean("ReadOnly"),
        recursive_readonly=recursive and recursive_read_only(),
        propagation=propagation,
        options=("bind",) if options.boolean("NonRecursive") else (),
        create_source=options.boolean("CreateMountpoint"),
    )


def _tmpfs_mount(item: Fields, target: str) -> Mount:
    if item.text("Source"):
        raise _invalid("tmpfs", "field Source must not be specified")
    given = item.sub("TmpfsOptions")
    options = []
    if size := given.integer("SizeBytes"):
        options.append(f"size={size}")
    if mode := given.integer("Mode"):
        options.append(f"mode={mode:o}")
    raw = given.raw.get("Options")
    for pair in raw if isinstance(raw, list) else []:
        if not isinstance(pair, list) or not all(isinstance(part, str) for part in pair):
            raise _invalid("tmpfs", "invalid option array length")
        options.append("=".join(str(part) for part in pair))
    return Mount(
        MountKind.TMPFS, "", target, readonly=item.boolean("ReadOnly"), options=tuple(options)
    )


def _tmpfs(path: str, text: str) -> Mount:
    options = [option for option in text.split(",") if option]
    for option in options:
        name, separator, _ = option.partition("=")
        if name not in (_TMPFS_VALUES if separator else _TMPFS_FLAGS):
            raise bad_request(f'invalid tmpfs option ["{option}"]')
    readonly = "ro" in options
    kept = tuple(option for option in options if option not in ("ro", "rw"))
    return Mount(MountKind.TMPFS, "", clean_target(path), readonly=readonly, options=kept)


def _from_others(texts: Iterable[str], find: FindContainer) -> Iterable[Mount]:
    """``CONTAINER[:ro|rw]``: that container's mounts, except its tmpfs ones."""
    for text in texts:
        reference, _, mode = text.partition(":")
        if not reference or mode not in ("", "ro", "rw", "z", "Z"):
            raise bad_request(f"invalid volumes-from specification: '{text}'")
        for mount in find(reference).spec.mounts:
            if mount.kind is MountKind.TMPFS:
                continue
            readonly = mount.readonly or mode == "ro"
            yield Mount(
                mount.kind,
                mount.source,
                mount.target,
                readonly=readonly,
                recursive_readonly=mount.recursive_readonly
                or (readonly and mount.kind is MountKind.BIND and recursive_read_only()),
                propagation=mount.propagation,
                propagation_default=mount.propagation_default,
                options=mount.options,
                create_source=mount.create_source,
                nocopy=True,
                sub_path=mount.sub_path,
            )


def _invalid(kind: str, reason: str) -> Exception:
    return bad_request(f'invalid mount config for type "{kind}": {reason}')
