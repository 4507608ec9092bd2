"""Mounts of a container on a host that no test has: one with SELinux."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sharedrt.model.faults import Fault, Internal, InvalidArgument
from sharedrt.model.spec import Mount, MountKind, Security
from tests.services.rig import ID, Machine, container, machine

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path) as made:
        yield made


@pytest.mark.parametrize("label", [LABEL, ""])
async def test_what_is_asked_for_is_relabelled_with_the_containers_label(
    host: Machine, tmp_path: Path, label: str
) -> None:
    mounts = []
    for name, relabel in (("plain", ""), ("own", "private"), ("all", "shared")):
        folder = tmp_path / name
        mounts.append(
            Mount(
                MountKind.BIND, str(folder), f"/{name}", create_source=True, selinux_relabel=relabel
            )
        )
    record = container()
    security = Security(selinux_mount_label=label)
    spec = replace(record.spec, mounts=tuple(mounts), security=security)
    await host.add(replace(record, spec=spec))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    labels = sorted(thing for thing in host.world.things if thing.startswith("label "))
    wanted = [f"label {tmp_path}/all {LABEL} True", f"label {tmp_path}/own {LABEL} False"]
    assert labels == (wanted if label else [])


@pytest.mark.parametrize(
    ("source", "fault", "words"),
    [
        ("/dev/null/data", InvalidArgument, "Not a directory"),
        ("/a\0b", InvalidArgument, "must be an absolute path"),
        (
            "/proc/nobody/data",
            Internal,
            "error while creating mount source path '/proc/nobody/data': "
            "mkdir /proc/nobody: no such file or directory",
        ),
    ],
)
async def test_a_source_that_cannot_be_made_is_told(
    host: Machine, source: str, fault: type[Fault], words: str
) -> None:
    mount = Mount(MountKind.BIND, source, "/data", create_source=True)
    record = container()
    await host.add(replace(record, spec=replace(record.spec, mounts=(mount,))))
    daemon = await host.daemon()
    with pytest.raises(fault) as caught:
        await daemon.containers.start(ID)
    assert words in str(caught.value)
