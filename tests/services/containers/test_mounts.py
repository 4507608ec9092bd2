"""Mounts of a container on a host that no test has: one with SELinux."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sharedrt.model.faults import Fault, Internal, InvalidArgument
from sharedrt.model.spec import Mount, MountKind, Security
from sharedrt.services.containers import mounts
from tests.services.rig import ID, Machine, container

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.mark.parametrize("label", [LABEL, ""])
async def test_what_is_asked_for_is_relabelled_with_the_containers_label(
    host: Machine, tmp_path: Path, label: str
) -> None:
    asked = []
    for name, relabel in (("plain", ""), ("own", "private"), ("all", "shared")):
        folder = tmp_path / name
        asked.append(
            Mount(
                MountKind.BIND, str(folder), f"/{name}", create_source=True, selinux_relabel=relabel
            )
        )
    record = container()
    security = Security(selinux_mount_label=label)
    spec = replace(record.spec, mounts=tuple(asked), security=security)
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


async def test_a_source_whose_server_does_not_answer_keeps_nobody_else_from_working(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dead file server's volumes, in a dozen pods."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    answer, begun = threading.Event(), list[str]()

    def hangs(mount: Mount) -> tuple[str, bool]:
        begun.append(mount.target)
        answer.wait()
        return mount.source, True

    monkeypatch.setattr(mounts, "_bind_source", hangs)
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(mounts._bind(Mount(MountKind.BIND, "/srv/dead", "/data")))
        try:
            async with asyncio.timeout(60):
                while len(begun) < 12:  # noqa: ASYNC110 - threads' doing
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(begun.sort)
        finally:
            answer.set()
