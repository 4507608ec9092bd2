"""Pods on the built-in bridge and through CNI, over the real store and drivers."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sharedrt.drivers.network.cni import CniPlugins
from sharedrt.model.faults import InUse, InvalidArgument, Unavailable
from sharedrt.model.ids import K8S_NAMESPACE, SandboxId
from sharedrt.model.records import PortMapping, SandboxRecord, SandboxSpec
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.networks import Networks, NetworkSettings, pod_subnets
from sharedrt.services.pod_network import PodNetwork, bandwidth_bps
from sharedrt.store.database import SqliteDatabase
from tests.fakes.name_servers import NameServersMemory
from tests.netlab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

RESULT = '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}, {"address": "fd00::2/64"}]}'
PLUGIN = """#!/bin/sh
cat > /dev/null
echo $CNI_COMMAND $CNI_ARGS >> {log}
[ -e {log}.fail.$CNI_COMMAND ] && exit 1
[ $CNI_COMMAND = ADD ] && echo '{result}'
exit 0
"""


@dataclass
class Pods:
    network: PodNetwork
    networks: Networks
    folder: Path

    def configure(self, text: str | None = None) -> None:
        document = {"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "fake"}]}
        (self.folder / "net.d/10.conflist").write_text(
            json.dumps(document) if text is None else text
        )

    def calls(self) -> list[str]:
        log = self.folder / "log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def fail(self, command: str, *, now: bool) -> None:
        marker = self.folder / f"log.fail.{command}"
        if now:
            marker.touch()
        else:
            marker.unlink()


@pytest.fixture
async def make_pods(lab: Lab, tmp_path: Path) -> AsyncIterator[Callable[..., Pods]]:
    for name in ("bin", "net.d"):
        (tmp_path / name).mkdir()
    plugin = tmp_path / "bin/fake"
    plugin.write_text(PLUGIN.format(log=tmp_path / "log", result=RESULT))
    plugin.chmod(0o755)
    async with await SqliteDatabase.open(tmp_path / "test.db") as database:

        def make(*subnets: str) -> Pods:
            settings = NetworkSettings(
                pod_bridge="brpods", pod_subnets=subnets or ("10.232.0.0/24",)
            )
            store = database.within(K8S_NAMESPACE)
            events = NamespacedEvents(store, EventBus())
            networks = Networks(store, database, lab.bridges, settings, events, NameServersMemory())
            cni = CniPlugins(tmp_path / "net.d", [tmp_path / "bin"])
            return Pods(PodNetwork(cni, networks), networks, tmp_path)

        yield make


@pytest.fixture
async def pods(make_pods: Callable[..., Pods]) -> Pods:
    made = make_pods()
    await made.networks.recover(())
    return made


def sandbox(netns: Path, annotations: Mapping[str, str] | None = None) -> SandboxRecord:
    return SandboxRecord(
        SandboxId("s1"),
        "web",
        "uid",
        "default",
        0,
        SandboxSpec(port_mappings=(PortMapping("tcp", 80, 8080), PortMapping("tcp", 81, 0))),
        annotations=annotations or {},
        netns_path=str(netns),
    )


@pytest.mark.real
async def test_built_in_bridge(pods: Pods, lab: Lab) -> None:
    assert pods.network.ready() == (True, "", "")
    netns = await lab.new_netns("web")
    record = sandbox(netns)
    assert await pods.network.attach(record, netns) == (["10.232.0.2"], None)
    lab.serve("web", 80)
    assert lab.ask("outside", HOST, 8080) == f"web {OUTSIDE}"
    # As pods are, it is reached directly too.
    lab.sh("outside", "ip", "route", "add", "10.232.0.0/24", "via", HOST)
    assert lab.ask("outside", "10.232.0.2", 80) == f"web {OUTSIDE}"
    # A CNI configuration that appears later has nothing to do with this pod.
    pods.configure()
    pods.fail("DEL", now=True)
    await pods.network.detach(record)
    assert pods.calls() == []
    assert await lab.bridges.endpoints_on_host() == []


@pytest.mark.real
@pytest.mark.parametrize(
    ("subnets", "addresses"),
    [
        (("10.232.0.0/24", "fd32::/64"), ["10.232.0.2", "fd32::2"]),
        (("fd32::/64", "10.232.0.0/24"), ["fd32::2", "10.232.0.2"]),
        (("fd32::/64",), ["fd32::2"]),
    ],
)
async def test_families(
    make_pods: Callable[..., Pods], lab: Lab, subnets: tuple[str, ...], addresses: list[str]
) -> None:
    pods = make_pods(*subnets)
    await pods.networks.recover(())
    netns = await lab.new_netns("web")
    record = sandbox(netns)
    assert await pods.network.attach(record, netns) == (addresses, None)
    lab.serve("web", 80, address="::")  # which takes IPv4 too
    assert lab.ask("outside", HOST6, 8080) == f"web {OUTSIDE6}", "the published port"
    lab.sh("outside", "ip", "-6", "route", "add", "fd32::/64", "via", HOST6)
    assert lab.ask("outside", "fd32::2", 80) == f"web {OUTSIDE6}", "the pod itself"
    lab.serve("outside", 90, address="::")
    assert lab.ask("web", OUTSIDE6, 90) == f"outside {HOST6}", "the way out, masqueraded"
    if len(subnets) == 2:
        assert lab.ask("outside", HOST, 8080).endswith(OUTSIDE)
        assert lab.ask("web", OUTSIDE, 90).endswith(HOST)
    else:
        assert "inet " not in lab.sh("web", "ip", "addr", "show", "eth0")
    await pods.network.detach(record)
    assert await lab.bridges.endpoints_on_host() == []


@pytest.mark.real
async def test_other_subnets_count_when_nobody_is_on_the_old_ones(
    make_pods: Callable[..., Pods], lab: Lab
) -> None:
    pods = make_pods()
    await pods.networks.recover(())
    netns = await lab.new_netns("web")
    record = sandbox(netns)
    await pods.network.attach(record, netns)
    configured = make_pods("10.232.0.0/24", "fd32::/64")
    await configured.networks.recover(("s1",))
    await lab.new_netns("other")
    assert (await configured.networks.ensure_pods()).subnets == ("10.232.0.0/24",)
    await configured.network.detach(record)
    assert (await configured.network.attach(record, netns))[0] == ["10.232.0.2", "fd32::2"]
    again = await configured.networks.ensure_pods()
    assert again == await configured.networks.ensure_pods()


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("10.88.0.0/16", "", ("10.88.0.0/16",)),
        ("10.88.0.0/16", "fd88::/64", ("10.88.0.0/16", "fd88::/64")),
        ("fd88:0::/64", "10.88.0.0/16", ("fd88::/64", "10.88.0.0/16")),
        ("fd88::/64", "", ("fd88::/64",)),
        ("fd88::/64", "fd89::/64", "network.pod_second_subnet"),
        ("10.88.0.1/16", "", "network.pod_subnet"),
        ("", "fd88::/64", "network.pod_subnet"),
        ("10.88.0.0/16", "fd88::/127", "no room"),
    ],
)
def test_configured_subnets(first: str, second: str, found: tuple[str, ...] | str) -> None:
    if isinstance(found, tuple):
        assert pod_subnets(first, second) == found
    else:
        with pytest.raises(InvalidArgument, match=found):
            pod_subnets(first, second)


@pytest.mark.real
async def test_a_taken_host_port_leaves_nothing(pods: Pods, lab: Lab) -> None:
    netns = await lab.new_netns("web")
    lab.serve("host", 8080)
    with pytest.raises(InUse):
        await pods.network.attach(sandbox(netns), netns)
    assert pods.networks.endpoints_of("s1") == []


@pytest.mark.real
async def test_cni(pods: Pods, lab: Lab) -> None:
    pods.configure()
    netns = await lab.new_netns("web")
    record = sandbox(netns)
    addresses, raw = await pods.network.attach(record, netns)
    assert addresses == ["10.1.0.2", "fd00::2"]
    assert pods.networks.list() == [], "the built-in network was not needed"
    record = replace(record, cni_result=raw)
    assert "K8S_POD_NAME=web" in (pods.folder / "log").read_text()
    # A plugin that fails is asked again, by the configuration of then.
    (pods.folder / "net.d/10.conflist").unlink()
    pods.fail("DEL", now=True)
    with pytest.raises(Unavailable):
        await pods.network.detach(record)
    pods.fail("DEL", now=False)
    await pods.network.detach(record)
    assert pods.calls() == ["ADD", "DEL", "DEL"]


@pytest.mark.real
async def test_an_attachment_without_a_record_is_cleaned_up(
    pods: Pods, make_pods: Callable[..., Pods], lab: Lab
) -> None:
    pods.configure()
    netns = await lab.new_netns("web")
    await pods.network.attach(sandbox(netns), netns)
    again = make_pods()  # killed before it could note the result
    await again.networks.recover(("s1",))
    await again.network.detach(sandbox(netns))
    assert pods.calls() == ["ADD", "DEL"]
    pods.fail("DEL", now=True)
    await again.network.detach(sandbox(netns))


@pytest.mark.real
async def test_a_failing_plugin_is_not_replaced_by_the_bridge(pods: Pods, lab: Lab) -> None:
    netns = await lab.new_netns("web")
    pods.configure()
    pods.fail("ADD", now=True)
    with pytest.raises(Unavailable, match="'fake'"):
        await pods.network.attach(sandbox(netns), netns)
    pods.configure("{")
    ready, reason, message = pods.network.ready()
    assert (ready, reason) == (False, "NetworkPluginNotReady")
    assert "10.conflist" in message
    with pytest.raises(Unavailable, match=r"10\.conflist"):
        await pods.network.attach(sandbox(netns), netns)
    assert pods.networks.list() == []


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("10M", 10_000_000),
        ("1Gi", 1 << 30),
        ("5e5", 500_000),
        ("1500", 1500),
        ("2.5k", 2500),
        ("1E-1", 0),
    ],
)
def test_bandwidth_quantities(text: str, bps: int) -> None:
    if bps:
        assert bandwidth_bps({"x": text}, "x") == bps
    else:
        with pytest.raises(InvalidArgument):
            bandwidth_bps({"x": text}, "x")
    assert bandwidth_bps({}, "x") == 0


@pytest.mark.parametrize("text", ["", "fast", "-1M", "999", "2000P", "10MB", "1.2.3M"])
def test_bad_bandwidths_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="annotation"):
        bandwidth_bps({"kubernetes.io/ingress-bandwidth": text}, "kubernetes.io/ingress-bandwidth")
