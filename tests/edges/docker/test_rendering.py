"""Small renderers and readers: durations, statuses, statistics, ps, log lines, routes, fields."""

from dataclasses import replace

import pytest

from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.human import human_duration
from sharedrt.edges.docker.log_encoder import LogEncoder
from sharedrt.edges.docker.names import random_name
from sharedrt.edges.docker.render_container import render_inspect, status_text
from sharedrt.edges.docker.router import Route, Router
from sharedrt.edges.docker.stats import render_stats
from sharedrt.edges.docker.top import parse_ps
from sharedrt.edges.docker.translate_create import check_name
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.drivers import (
    BlkioEntry,
    CgroupStats,
    CpuStats,
    LogLine,
    MemoryStats,
    NetworkStats,
)
from sharedrt.model.ids import ContainerId, Digest
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.spec import ContainerSpec, ImageDefaults
from sharedrt.services.contracts import ContainerStats, LayerFolders
from tests.edges.docker.fakes import HOST

S = 10**9
RECORD = ContainerRecord(
    id=ContainerId("a" * 64),
    name="web",
    image_reference="busybox",
    image_id=Digest("sha256:" + "c" * 64),
    spec=ContainerSpec(hostname="h", env=("A=1",)),
    image_defaults=ImageDefaults(entrypoint=("/e",), cmd=("c",), env=("B=2",), user="www"),
    created_ns=S,
    started_ns=100 * S,
    finished_ns=200 * S,
    exit_code=3,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3000, "50 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human_duration(int(seconds * S)) == text


@pytest.mark.parametrize(
    ("state", "paused", "restarting", "text"),
    [
        (ContainerState.CREATED, False, False, "Created"),
        (ContainerState.RUNNING, False, False, "Up 3 minutes"),
        (ContainerState.RUNNING, True, False, "Up 3 minutes (Paused)"),
        (ContainerState.EXITED, False, False, "Exited (3) About a minute ago"),
        (ContainerState.EXITED, False, True, "Restarting (3) About a minute ago"),
    ],
)
def test_statuses(state: ContainerState, paused: bool, restarting: bool, text: str) -> None:
    view = ContainerView(replace(RECORD, state=state, paused=paused), restarting)
    assert status_text(view, 280 * S) == text


def test_a_container_of_another_door_is_shown_too() -> None:
    rendered = render_inspect(
        ContainerView(RECORD),
        [],
        lambda _: None,
        HOST,
        mounts=[],
        exec_ids=[],
        etc_folder="/run/x",
        layers=LayerFolders(("/l2", "/l1"), "/a/fs", "/a/work", "/a/rootfs"),
    )
    assert rendered["GraphDriver"]["Data"]["LowerDir"] == "/l2:/l1"
    assert (rendered["Path"], rendered["Args"]) == ("/e", ["c"])
    assert rendered["Config"]["Env"] == ["A=1", "B=2"]
    assert rendered["Config"]["User"] == "www"
    assert rendered["HostConfig"]["NetworkMode"] == "none"
    assert rendered["HostsPath"] == "/run/x/hosts"


def stats(total_ns: int, system_ns: int) -> ContainerStats:
    return ContainerStats(
        RECORD.id,
        CgroupStats(
            time_ns=5 * S,
            cpu=CpuStats(total_ns=total_ns, online_cpus=4, system_total_ns=system_ns),
            memory=MemoryStats(usage_bytes=50, raw={"inactive_file": 10}),
            blkio_bytes=(BlkioEntry(8, 0, "Read", 7),),
            pids_current=2,
        ),
        (NetworkStats("eth0", rx_bytes=1, tx_bytes=2),),
        None,
    )


def test_statistics_give_the_cli_its_percentages() -> None:
    rendered = render_stats(RECORD, stats(3 * S, 8 * S), stats(2 * S, 4 * S), memory_total=1000)
    cpu, before = rendered["cpu_stats"], rendered["precpu_stats"]
    used = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = cpu["system_cpu_usage"] - before["system_cpu_usage"]
    assert used / passed * cpu["online_cpus"] * 100 == 100
    memory = rendered["memory_stats"]
    assert memory["usage"] - memory["stats"]["inactive_file"] == 40
    assert memory["limit"] == 1000, "without a limit, what the host has"
    assert rendered["pids_stats"]["current"] == 2
    assert rendered["networks"]["eth0"]["tx_bytes"] == 2
    assert rendered["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 7}
    ]
    first = render_stats(RECORD, stats(3 * S, 8 * S), None, memory_total=1000)
    assert first["preread"] == "0001-01-01T00:00:00Z"
    assert "system_cpu_usage" not in first["precpu_stats"]


def test_ps_output_is_cut_to_the_containers_processes() -> None:
    output = (
        "UID        PID  PPID CMD\nroot        10     1 sleep 300\nroot        11     1 other\n"
    )
    assert parse_ps(output, {10}) == (
        ["UID", "PID", "PPID", "CMD"],
        [["root", "10", "1", "sleep 300"]],
    )
    with pytest.raises(Refusal, match="PID"):
        parse_ps("CMD\nsleep\n", {10})


def test_threads_go_with_their_process() -> None:
    output = "PID LWP CMD\n10 - a\n- 10 -\n- 12 -\n11 - b\n- 11 -\n"
    rows = [["10", "-", "a"], ["-", "10", "-"], ["-", "12", "-"]]
    assert parse_ps(output, {10}) == (["PID", "LWP", "CMD"], rows)


def test_log_lines_that_go_on_have_one_time() -> None:
    encoder = LogEncoder(framed=False, timestamps=True, details="k=v")
    lines = [LogLine(S, 1, b"par", True), LogLine(S, 2, b"other", False)]
    assert encoder.encode(lines) == (
        b"1970-01-01T00:00:01.000000000Z k=v par1970-01-01T00:00:01.000000000Z k=v other\n"
    )
    assert encoder.encode([LogLine(2 * S, 1, b"tial", False)]) == b"tial\n"


def test_generated_names_are_allowed_ones() -> None:
    for attempt in range(8):
        name = random_name(attempt)
        assert check_name(name) == name
        assert name[-1].isdigit() == (attempt > 0)


async def test_routes() -> None:
    async def handler(call: object) -> object:
        raise AssertionError

    router = Router(
        [
            Route("GET", "/images/json", handler),  # type: ignore[arg-type]
            Route("GET", "/images/{name*}/json", handler),  # type: ignore[arg-type]
            Route("DELETE", "/containers/{id}", handler),  # type: ignore[arg-type]
        ]
    )
    found = router.match("GET", "/images/reg:5000/a/b:1/json")
    assert found is not None
    assert found[1] == {"name": "reg:5000/a/b:1"}
    assert router.match("DELETE", "/containers/a/b") is None
    assert router.match("POST", "/images/json") is None
    assert router.match("GET", "images/json") is None


def test_fields_are_read_as_go_reads_them() -> None:
    fields = Fields({"image": "x", "Tty": None, "N": 3.0, "M": {"a": None, "b": {}}})
    assert fields.text("Image") == "x"
    assert fields.boolean("Tty") is False
    assert fields.integer("N") == 3
    assert Fields({"N": -(1 << 63)}).integer("N") == -(1 << 63)
    assert [key for key, _ in fields.items("M")] == ["a", "b"]
    assert "Image" in fields
    assert "Tty" not in fields
    for read in (
        lambda: fields.boolean("Image"),
        lambda: fields.integer("Image"),
        lambda: fields.strings("N"),
        lambda: fields.mapping("M"),
        lambda: fields.objects("M"),
        lambda: fields.sub("Image"),
        lambda: fields.keys("Image"),
        lambda: Fields({"N": True}).integer("N"),
        lambda: Fields({"N": 1 << 63}).integer("N"),
        lambda: Fields({"N": -(1 << 63) - 1}).integer("N"),
        lambda: Fields({"N": 1e30}).integer("N"),
    ):
        with pytest.raises(Refusal, match="cannot unmarshal"):
            read()
