"""Mounts on the way in."""

from typing import Any

import pytest

from sharedrt.edges.cri.translate_mounts import mounts_of
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.spec import IdMapping, Mount, MountKind
from sharedrt.pb.runtime import v1 as pb
from tests.edges.cri.builders import HOST, OLD_HOST, config


def one(host: Any = HOST, **fields: Any) -> Mount:
    mount = pb.Mount(**{"container_path": "/data", **fields})
    (translated,) = mounts_of(config(mounts=[mount]).mounts, host)
    return translated


def test_bind() -> None:
    mapping = pb.IdMapping(container_id=0, host_id=1000, length=10)
    assert one(
        host_path="/srv",
        readonly=True,
        selinux_relabel=True,
        propagation=pb.MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
        uid_mappings=[mapping],
        gid_mappings=[mapping],
    ) == Mount(
        kind=MountKind.BIND,
        source="/srv",
        target="/data",
        readonly=True,
        propagation="rslave",
        create_source=True,
        selinux_relabel="private",
        uid_mappings=(IdMapping(0, 1000, 10),),
        gid_mappings=(IdMapping(0, 1000, 10),),
    )


def test_image() -> None:
    mount = one(image=pb.ImageSpec(image="busybox"), image_sub_path="bin", readonly=True)
    assert (mount.kind, mount.source, mount.sub_path) == (MountKind.IMAGE, "busybox", "bin")
    assert mount.readonly
    with pytest.raises(InvalidArgument, match="host_path"):
        one(image=pb.ImageSpec(image="busybox"), host_path="/srv")
    with pytest.raises(InvalidArgument, match="readonly"):
        one(image=pb.ImageSpec(image="busybox"))
    with pytest.raises(InvalidArgument, match="image_sub_path"):
        one(host_path="/srv", image_sub_path="x")


def test_recursive_read_only() -> None:
    assert one(host_path="/srv", readonly=True, recursive_read_only=True).recursive_readonly
    with pytest.raises(InvalidArgument, match="readonly"):
        one(host_path="/srv", recursive_read_only=True)
    with pytest.raises(InvalidArgument, match="propagation"):
        one(
            host_path="/srv",
            readonly=True,
            recursive_read_only=True,
            propagation=pb.MountPropagation.PROPAGATION_BIDIRECTIONAL,
        )
    with pytest.raises(FailedPrecondition, match=r"5\.12"):
        one(OLD_HOST, host_path="/srv", readonly=True, recursive_read_only=True)
