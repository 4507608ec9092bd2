"""ContainerConfig on the way in: every field is honoured, or refused by its name."""

from typing import Any

import pytest

from sharedrt.edges.cri.extension import config_of
from sharedrt.edges.cri.translate_container import new_container
from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.records import SandboxRecord
from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.contracts import NewContainer
from tests.edges.cri.builders import HOST, SANDBOX_ID, config, no_containers, sandbox


async def translate(config: pb.ContainerConfig, pod: SandboxRecord | None = None) -> NewContainer:
    return await new_container(config, pod or sandbox(), HOST, no_containers)


async def test_name_is_unique_by_container_pod_and_attempt() -> None:
    new = await translate(config(metadata=pb.ContainerMetadata(name="app", attempt=3)))
    assert new.name == "app_web_shop_u1_3"
    assert new.sandbox_id == SANDBOX_ID


async def test_process() -> None:
    new = await translate(
        config(
            command=["/bin/sh"],
            args=["-c", "true"],
            working_dir="/srv",
            envs=[pb.KeyValue(key="A", value="1"), pb.KeyValue(key="EMPTY", value="")],
            tty=True,
            stdin=True,
            stdin_once=True,
            stop_signal=pb.Signal.SIGRTMINPLUS3,
            labels={"l": "1"},
            annotations={"a": "2"},
        )
    )
    spec = new.spec
    assert (spec.command, spec.args, spec.cwd) == (("/bin/sh",), ("-c", "true"), "/srv")
    assert spec.env == ("A=1", "EMPTY=")
    assert (spec.tty, spec.open_stdin, spec.stdin_once) == (True, True, True)
    assert spec.stop_signal == "SIGRTMIN+3"
    assert (new.labels, new.annotations) == ({"l": "1"}, {"a": "2"})


async def test_what_is_not_given_is_left_to_the_image() -> None:
    spec = (await translate(config())).spec
    assert (spec.command, spec.args, spec.cwd, spec.stop_signal) == (None, None, "", "")
    assert spec.oom_score_adj is None


async def test_log_is_below_the_pods_folder() -> None:
    assert (await translate(config())).log_path == "/var/log/pods/shop_web_u1/app/0.log"


@pytest.mark.parametrize(
    ("directory", "path"), [("", "app/0.log"), ("/var/log/pods/shop_web_u1", "")]
)
async def test_no_log_without_folder_or_name(directory: str, path: str) -> None:
    new = await translate(config(log_path=path), sandbox(log_directory=directory))
    assert (new.log_path, new.keep_log) == ("", False)


async def test_log_outside_of_the_pods_folder_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="log_path"):
        await translate(config(log_path="../other/0.log"))


async def test_resources_and_oom_score() -> None:
    resources = pb.LinuxContainerResources(
        cpu_period=100_000,
        cpu_quota=50_000,
        cpu_shares=512,
        memory_limit_in_bytes=1 << 20,
        memory_swap_limit_in_bytes=2 << 20,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        oom_score_adj=-997,
        hugepage_limits=[pb.HugepageLimit(page_size="2MB", limit=4 << 20)],
        unified={"memory.high": "1000"},
    )
    spec = (await translate(config(linux=pb.LinuxContainerConfig(resources=resources)))).spec
    assert spec.oom_score_adj == -997
    assert spec.resources.cpu_quota_us == 50_000
    assert spec.resources.memory_bytes == 1 << 20
    assert spec.resources.memory_swap_bytes == 2 << 20
    assert spec.resources.hugepage_limits == {"2MB": 4 << 20}
    assert spec.resources.unified == {"memory.high": "1000"}


async def test_the_request_itself_is_kept() -> None:
    asked = config(mounts=[pb.Mount(container_path="/data", host_path="/srv")])
    new = await translate(asked)
    assert config_of(pb.ContainerConfig, new.extensions) == asked


def limited(**limits: Any) -> dict[str, Any]:
    return {"linux": pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(**limits))}


async def test_minus_one_is_no_limit() -> None:
    new = await translate(config(**limited(memory_limit_in_bytes=-1, cpu_quota=-1)))
    assert (new.spec.resources.memory_bytes, new.spec.resources.cpu_quota_us) == (-1, -1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metadata": pb.ContainerMetadata()}, "metadata.name"),
        ({"image": pb.ImageSpec()}, "image.image"),
        ({"envs": [pb.KeyValue(key="A=B", value="1")]}, "envs.key"),
        ({"stop_signal": 999}, "stop_signal"),
        ({"mounts": [pb.Mount(container_path="data", host_path="/srv")]}, "container_path"),
        ({"mounts": [pb.Mount(container_path="/data")]}, "host_path"),
        ({"devices": [pb.Device(host_path="/dev/null", permissions="x")]}, "permissions"),
        (
            {
                "linux": pb.LinuxContainerConfig(
                    resources=pb.LinuxContainerResources(oom_score_adj=2000)
                )
            },
            "oom_score_adj",
        ),
        (
            {
                "linux": pb.LinuxContainerConfig(
                    resources=pb.LinuxContainerResources(memory_limit_in_bytes=-2)
                )
            },
            "memory_limit_in_bytes",
        ),
        (limited(hugepage_limits=[pb.HugepageLimit(page_size="../x", limit=1)]), "hugepage_limits"),
        (limited(unified={"../cgroup.procs": "1"}), "unified"),
        (limited(unified={"memory": "1"}), "unified"),
    ],
)
async def test_nonsense_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        await translate(config(**changes))


async def test_windows_is_refused_by_name() -> None:
    with pytest.raises(Unimplemented, match="Windows"):
        await translate(config(windows=present(pb.WindowsContainerConfig())))


async def test_cdi_devices_from_field_and_annotation() -> None:
    new = await translate(
        config(
            cdi_devices=[pb.CdiDevice(name="vendor.com/gpu=0")],
            annotations={"cdi.k8s.io/plugin": "vendor.com/gpu=0,vendor.com/nic=1"},
        )
    )
    assert new.spec.cdi_devices == ("vendor.com/gpu=0", "vendor.com/nic=1")
