"""CNI with Debian's plugins on real namespaces, and with scripts where a plugin has to misbehave."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from sharedrt.drivers.network import cni as cni_module
from sharedrt.drivers.network.cni import CniPlugins
from sharedrt.drivers.network.cni_config import (
    ConfigurationError,
    ConfigurationFolder,
    parse_configuration,
)
from sharedrt.model.drivers import CniRequest
from sharedrt.model.faults import FailedPrecondition, Unavailable
from sharedrt.model.records import PortMapping
from tests.real.waiting import until

DEBIAN = Path("/usr/lib/cni")


def conflist(*plugins: dict[str, Any], version: str = "1.0.0", name: str = "net") -> str:
    return json.dumps({"name": name, "cniVersion": version, "plugins": list(plugins)})


def request(netns: Path = Path("/proc/self/ns/net"), **more: Any) -> CniRequest:
    return CniRequest("pod-1", netns, {"IgnoreUnknown": "1", "K8S_POD_NAME": "web"}, **more)


# ---------------------------------------------------------------- configuration


def test_first_usable_file_wins_and_changes_are_seen(tmp_path: Path) -> None:
    folder = ConfigurationFolder(tmp_path / "net.d")
    assert folder.current().network is None
    assert folder.current().problems == ()
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/50.conflist").write_text(conflist({"type": "bridge"}, name="fifty"))
    (tmp_path / "net.d/README.md").write_text("x")
    network = folder.current().network
    assert network is not None
    assert network.name == "fifty"
    (tmp_path / "net.d/10.conf").write_text('{"name": "ten", "cniVersion": "0.4.0", "type": "ptp"}')
    network = folder.current().network
    assert network is not None
    assert (network.name, network.plugins[0]["type"]) == ("ten", "ptp")
    (tmp_path / "net.d/10.conf").write_text("{")
    selection = folder.current()
    assert selection.network is not None
    assert selection.network.name == "fifty"
    assert "10.conf" in selection.problems[0]
    (tmp_path / "net.d/50.conflist").unlink()
    assert folder.current().network is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not a JSON object"),
        ("{", "no JSON"),
        ('{"cniVersion": "1.0.0", "type": "x"}', "'name'"),
        ('{"name": "n", "cniVersion": "1.0.0"}', "'plugins'"),
        ('{"name": "n", "cniVersion": "1.0.0", "plugins": []}', "'plugins'"),
        ('{"name": "n", "cniVersion": "1.0.0", "plugins": [{}]}', "no 'type'"),
        ('{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "../sh"}]}', "no file name"),
        ('{"name": "n", "cniVersion": "0.2.0", "type": "x"}', "cniVersion '0.2.0'"),
        ('{"name": "n", "type": "x"}', "cniVersion None"),
    ],
)
def test_what_cannot_be_used_says_why(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("[", r"\[")):
        parse_configuration(text.encode())


def test_the_newest_offered_version_is_spoken() -> None:
    text = '{"name": "n", "cniVersions": ["0.4.0", "1.1.0", "9.0.0"], "cniVersion": "0.4.0", "type": "x"}'
    assert parse_configuration(text.encode()).cni_version == "1.1.0"


# ---------------------------------------------------------------- scripted plugins

RECORDER = """#!/bin/sh
input=$(cat)
echo "$CNI_COMMAND $0 $CNI_IFNAME $CNI_NETNS" >> {log}
echo "$input" > {log}.$(basename $0).$CNI_COMMAND
{body}
"""
Script = Callable[[str, str], None]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    (tmp_path / "bin").mkdir()
    (tmp_path / "net.d").mkdir()

    def make(name: str, body: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(RECORDER.format(log=tmp_path / "log", body=body))
        path.chmod(0o755)

    return make


def driver(tmp_path: Path, text: str, timeout_s: float = 10) -> CniPlugins:
    (tmp_path / "net.d/10.conflist").write_text(text)
    return CniPlugins(
        tmp_path / "net.d", [tmp_path / "none", tmp_path / "bin"], timeout_s=timeout_s
    )


def calls(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "log").read_text().splitlines()
    return [f"{command} {Path(name).name}" for command, name, *_ in map(str.split, lines)]


def given(tmp_path: Path, plugin: str, command: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((tmp_path / f"log.{plugin}.{command}").read_text())
    return document


RESULT = json.dumps(
    {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "br"}, {"name": "eth0", "sandbox": "/x"}],
        "ips": [
            {"address": "fd00::2/64", "interface": 1},
            {"address": "10.1.0.2/24", "interface": 1},
            {"address": "10.1.0.1/24", "interface": 0},
        ],
        "dns": {"nameservers": ["10.1.0.1"]},
    }
)
OK = f"[ $CNI_COMMAND = ADD ] && echo '{RESULT}'\nexit 0"


async def test_chain_results_capabilities_and_reverse_order(tmp_path: Path, script: Script) -> None:
    script("one", OK)
    script("two", OK)
    capabilities = {"portMappings": True, "bandwidth": True, "ipRanges": True, "cgroupPath": False}
    annotations = {"io.kubernetes.cri.pod-annotations": True}
    cni = driver(
        tmp_path,
        conflist(
            {"type": "one", "capabilities": annotations},
            {"type": "two", "capabilities": capabilities},
        ),
    )
    assert (cni.configured(), cni.problem()) == ("net", "")
    asked = request(
        port_mappings=(PortMapping("tcp", 80, 8080, "127.0.0.1"),),
        ingress_bps=1000,
        cgroup_path="/kubepods",
        annotations={"a": "b"},
    )
    result = await cni.add(asked)
    assert result.addresses == ("10.1.0.2/24", "fd00::2/64")
    assert result.dns.servers == ("10.1.0.1",)
    first, second = given(tmp_path, "one", "ADD"), given(tmp_path, "two", "ADD")
    assert "prevResult" not in first
    assert first["runtimeConfig"] == {"io.kubernetes.cri.pod-annotations": {"a": "b"}}
    assert (first["name"], first["cniVersion"]) == ("net", "1.0.0")
    assert second["prevResult"] == json.loads(RESULT)
    assert second["runtimeConfig"] == {
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}
        ],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2**31 - 1},
    }
    # Another configuration comes meanwhile: DEL goes by the one that ADD used.
    raw = json.loads(json.dumps(result.raw))
    (tmp_path / "net.d/10.conflist").write_text(conflist({"type": "three"}))
    await cni.check(asked, raw)
    await cni.delete(request(Path("/gone")), raw)
    assert calls(tmp_path) == ["ADD one", "ADD two", "CHECK one", "CHECK two", "DEL two", "DEL one"]
    assert given(tmp_path, "two", "DEL")["prevResult"] == json.loads(RESULT)
    assert (tmp_path / "log").read_text().splitlines()[-1].endswith("eth0 ")
    assert "'three' not found" in cni.problem()
    assert "containernetworking-plugins" in cni.problem()


async def test_old_versions_delete_without_a_result(tmp_path: Path, script: Script) -> None:
    script("one", OK)
    cni = driver(tmp_path, conflist({"type": "one"}, version="0.3.1"))
    result = await cni.add(request())
    await cni.check(request(), result.raw)
    await cni.delete(request(), result.raw)
    assert "prevResult" not in given(tmp_path, "one", "DEL")
    assert calls(tmp_path) == ["ADD one", "DEL one"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            '[ $CNI_COMMAND = DEL ] && exit 0; echo \'{"code": 7, "msg": "no room", "details": "at all"}\'; exit 1',
            r"network 'net': plugin 'two' \(ADD\): no room: at all",
        ),
        ("echo boom >&2; exit 3", "boom"),
        ("echo nonsense", "printed no JSON"),
        ("exit 4", "exit code 4"),
        ('echo \'{"ips": [{"address": "x"}]}\'', "bad result"),
    ],
)
async def test_a_failing_plugin_is_reported_and_all_is_undone(
    tmp_path: Path, script: Script, body: str, words: str
) -> None:
    script("one", OK)
    script("two", body)
    cni = driver(tmp_path, conflist({"type": "one"}, {"type": "two"}))
    with pytest.raises(Unavailable, match=words):
        await cni.add(request())
    assert calls(tmp_path) == ["ADD one", "ADD two", "DEL two", "DEL one"]


async def test_a_missing_plugin_is_named_with_its_package(tmp_path: Path, script: Script) -> None:
    cni = driver(tmp_path, conflist({"type": "missing"}))
    with pytest.raises(Unavailable, match=r"'missing'.*containernetworking-plugins"):
        await cni.add(request())
    (tmp_path / "net.d/10.conflist").unlink()
    with pytest.raises(FailedPrecondition):
        await cni.add(request())


def running(marker: str) -> bool:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


async def test_a_slow_plugin_is_told_by_name(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("slow", OK.replace("exit 0", "sleep 0.2"))
    script("quick", OK)
    monkeypatch.setattr(cni_module, "_SLOW_S", 0.15)
    cni = driver(tmp_path, conflist({"type": "slow"}, {"type": "quick"}))
    with capture_logs() as logs:
        await cni.add(request())
    assert {(entry["event"], entry["plugin"], entry["command"]) for entry in logs} >= {
        ("slow CNI plugin", "slow", "ADD")
    }


async def test_a_slow_plugin_is_killed_with_its_children(tmp_path: Path, script: Script) -> None:
    seconds = str(600 + os.getpid() / 10**7)
    script("slow", f"[ $CNI_COMMAND = DEL ] && exit 0\nsleep {seconds}")
    cni = driver(tmp_path, conflist({"type": "slow"}), timeout_s=0.3)
    with pytest.raises(Unavailable, match=r"took more than 0\.3 s"):
        await cni.add(request())
    await until(lambda: not running(seconds))
    cni = driver(tmp_path, conflist({"type": "slow"}))
    task = asyncio.get_running_loop().create_task(cni.add(request()))
    for _ in range(500):
        await asyncio.sleep(0.01)
        if running(seconds):
            break
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not running(seconds))
    assert calls(tmp_path) == ["ADD slow", "DEL slow"] * 2


def test_a_plugin_that_reads_nothing_and_leaves_something_running(
    tmp_path: Path, script: Script
) -> None:
    """On the daemon's loop. It ends when it ends, not when the last one who has its output open does."""
    (tmp_path / "net.d").mkdir(exist_ok=True)
    path = tmp_path / "bin" / "quick"
    left = tmp_path / "left"
    path.write_text(f"#!/bin/sh\n{OK.replace('exit 0', f'sleep 60 & echo $! >> {left}')}\n")
    path.chmod(0o755)

    async def calls_of_it() -> None:
        cni = driver(tmp_path, conflist({"type": "quick", "padding": "x" * 200_000}))
        async with asyncio.timeout(60):
            for _ in range(20):
                assert (await cni.add(request())).addresses
                await cni.delete(request(), None)

    try:
        uvloop.run(calls_of_it())
    finally:
        for pid in left.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


async def test_an_undo_goes_to_its_end_though_it_is_cancelled(
    tmp_path: Path, script: Script
) -> None:
    script("one", OK)
    script("two", "sleep 1")
    cni = driver(tmp_path, conflist({"type": "one"}, {"type": "two"}))
    task = asyncio.get_running_loop().create_task(cni.add(request()))
    for step in ("ADD two", "DEL two"):
        async with asyncio.timeout(30):
            while not (tmp_path / "log").exists() or calls(tmp_path)[-1] != step:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls(tmp_path) == ["ADD one", "ADD two", "DEL two", "DEL one"]


# ---------------------------------------------------------------- Debian's plugins


@pytest.mark.real
async def test_debians_bridge_host_local_and_portmap(lab: Any, tmp_path: Path) -> None:
    """In the machine's own network namespace the plugins would work; here nsenter puts them in the lab's."""
    if not (DEBIAN / "bridge").exists():
        pytest.skip("package containernetworking-plugins is missing")
    (tmp_path / "bin").mkdir()
    (tmp_path / "net.d").mkdir()
    for name in ("bridge", "portmap", "host-local", "bandwidth"):
        wrapper = tmp_path / "bin" / name
        wrapper.write_text(f"#!/bin/sh\nexec nsenter --net={lab.netns('host')} {DEBIAN / name}\n")
        wrapper.chmod(0o755)
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path / "data"),
        "ranges": [[{"subnet": "10.234.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    text = conflist(
        {"type": "bridge", "bridge": "cni9", "isGateway": True, "ipMasq": True, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    )
    cni = driver(tmp_path, text)
    netns = await lab.new_netns("pod")
    before = lab.sh("host", "ip", "-o", "link").count("veth")
    asked = request(netns, port_mappings=(PortMapping("tcp", 80, 8080),))
    start = time.perf_counter()
    result = await cni.add(asked)
    print(f"{(time.perf_counter() - start) * 1000:.0f} ms")
    assert result.addresses == ("10.234.0.2/24",)
    lab.serve("pod", 80)
    lab.serve("outside", 81)
    assert lab.ask("outside", "203.0.113.1", 8080) == "pod 203.0.113.2"
    assert lab.ask("pod", "203.0.113.2", 81) == "outside 203.0.113.1"
    for _ in range(2):
        await cni.delete(asked, result.raw)
    assert lab.ask("outside", "203.0.113.1", 8080) == "refused"
    assert lab.sh("host", "ip", "-o", "link").count("veth") == before
    assert not [p for p in (tmp_path / "data/net").iterdir() if p.name.startswith("10.")]
    # A namespace that is gone is no obstacle, nor is one that was never attached.
    await lab.namespaces.remove(netns.parent)
    await cni.delete(asked, result.raw)
    await cni.delete(asked, None)
