"""Pods on a network of Debian's CNI plugins: dual stack, port mappings, bandwidth, and plugins that fail."""

import asyncio
import contextlib
import functools
import json
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from grpclib import GRPCError, Status

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, cri_client
from tests.real.daemon import DaemonUnderTest
from tests.real.registry import free_port
from tests.real.test_cri import secured
from tests.real.test_recovery import change_records
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PLUGINS = Path("/usr/lib/cni")


def bridge_of(daemon: DaemonUnderTest) -> str:
    return f"srn{daemon.number}"


def conflist(daemon: DaemonUnderTest) -> dict[str, Any]:
    """bridge with both families, portmap and bandwidth, as kubeadm's guides have it."""
    n = daemon.number
    ranges = [[{"subnet": f"10.87.{n}.0/24"}], [{"subnet": f"fd87:{n}::/64"}]]
    return {
        "cniVersion": "1.0.0",
        "name": f"net{n}",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge_of(daemon),
                "isGateway": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": ranges,
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                    "dataDir": str(daemon.root / "ipam"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
            {"type": "flaky"},
        ],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def net(busybox_archive: Path) -> AsyncIterator[DaemonUnderTest]:
    """A daemon with that network; its last plugin fails in the commands that a file names."""
    daemon = DaemonUnderTest()
    bin_dir = daemon.root / "cni-bin"
    bin_dir.mkdir()
    flaky = bin_dir / "flaky"
    flaky.write_text(
        f"#!/bin/sh\necho $CNI_COMMAND >> {daemon.root}/flaky.log\n"
        f"grep -q $CNI_COMMAND {daemon.root}/fails 2>/dev/null &&\n"
        ' { echo \'{"code": 100, "msg": "no luck"}\'; exit 1; }\n'
        # The result so far is the result.
        f"[ $CNI_COMMAND = DEL ] || sed 's/.*\"prevResult\"://; s/}}$//'\n"
    )
    flaky.chmod(0o755)
    settings = daemon.config_path.read_text()
    dirs = json.dumps([str(bin_dir), str(PLUGINS)])
    daemon.config_path.write_text(settings.replace("[cni]", f"[cni]\nbin_dirs = {dirs}"))
    (daemon.cni_conf / "10-net.conflist").write_text(json.dumps(conflist(daemon)))
    try:
        await daemon.start()
        await daemon.cli("-n", "k8s.io", "images", "import", str(busybox_archive))
        yield daemon
    finally:
        await daemon.purge()
        await daemon.run("ip", "link", "delete", bridge_of(daemon), check=False)


@pytest_asyncio.fixture(loop_scope="module")
async def client(net: DaemonUnderTest) -> AsyncIterator[CriClient]:
    async with cri_client(net.socket("cri"), net.root / "pods") as made:
        yield made


async def network_of(cri: CriClient, id: str) -> pb.PodSandboxNetworkStatus:
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=id)
    return (await cri.runtime.pod_sandbox_status(request)).status.network


def leases(net: DaemonUnderTest) -> list[str]:
    """Addresses that host-local has given out: a file each, beside its lock and its last ones."""
    found = (net.root / "ipam").rglob("*")
    return sorted(p.name for p in found if p.is_file() and not p.name.startswith("l"))


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        data: bytes = answer.read()
        return data


async def test_dual_stack_port_mapping_and_bandwidth(
    net: DaemonUnderTest, client: CriClient
) -> None:
    port = free_port()
    config = client.pod_config(
        "web",
        port_mappings=[pb.PortMapping(host_port=port, container_port=80)],
        annotations={
            "kubernetes.io/ingress-bandwidth": "10M",
            "kubernetes.io/egress-bandwidth": "5M",
        },
    )
    id = await client.run_pod(config)
    try:
        status = await network_of(client, id)
        n = net.number
        assert status.ip.startswith(f"10.87.{n}.")
        assert [address.ip for address in status.additional_ips] == [f"fd87:{n}::2"]
        script = "echo served > /index.html; httpd -f -p 80 -h /"
        main = await client.create(id, config, "main", ["sh", "-c", script], linux=secured())
        await client.start(main)
        hosts = await client.exec_sync(main, "cat", "/etc/hosts")
        assert status.ip.encode() in hosts.stdout
        assert f"fd87:{n}::2".encode() in hosts.stdout
        for url in (
            f"http://{status.ip}",
            f"http://[fd87:{n}::2]",
            f"http://10.87.{n}.1:{port}",
            f"http://127.0.0.1:{port}",
        ):
            await until(functools.partial(asyncio.to_thread, serves, url))
        shaped = await net.run("tc", "qdisc", "show")
        lines = [line for line in shaped.stdout.splitlines() if "tbf" in line]
        assert any("rate 10Mbit" in line for line in lines), shaped.stdout
        assert any("rate 5Mbit" in line for line in lines), shaped.stdout
    finally:
        await client.remove_pod(id)
    assert leases(net) == []
    rules = await net.run("iptables-save", "-t", "nat")
    assert str(port) not in rules.stdout
    assert not [line for line in (await net.run("tc", "qdisc", "show")).stdout.splitlines()
                if "tbf" in line and "Mbit" in line and f"srn{net.number}" in line]  # fmt: skip


def serves(url: str) -> bool:
    try:
        return fetch(url) == b"served\n"
    except OSError:
        return False


async def test_a_failing_add_leaves_nothing(net: DaemonUnderTest, client: CriClient) -> None:
    (net.root / "fails").write_text("ADD\n")
    config = client.pod_config("broken")
    with pytest.raises(GRPCError) as caught:
        await client.run_pod(config)
    assert caught.value.status is Status.UNAVAILABLE
    assert "no luck" in str(caught.value.message)
    pods = await client.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())
    assert pods.items == []
    assert leases(net) == []
    (net.root / "fails").unlink()
    await client.remove_pod(await client.run_pod(config))  # the same pod, tried again


async def test_a_failing_del_is_tried_again_and_done_once(
    net: DaemonUnderTest, client: CriClient
) -> None:
    id = await client.run_pod(client.pod_config("sticky"))
    (net.root / "fails").write_text("DEL\n")
    stop = pb.StopPodSandboxRequest(pod_sandbox_id=id)
    for _ in range(2):
        with pytest.raises(GRPCError) as caught:
            await client.runtime.stop_pod_sandbox(stop)
        assert "no luck" in str(caught.value.message)
    assert len(leases(net)) == 2
    # Nor does a daemon that starts anew forget it.
    await net.restart()
    (net.root / "fails").unlink()
    (net.root / "flaky.log").unlink()
    async with cri_client(net.socket("cri"), net.root / "pods") as again:
        for _ in range(2):
            await again.runtime.stop_pod_sandbox(stop)
        await again.remove_pod(id)
    assert leases(net) == []
    assert (net.root / "flaky.log").read_text() == "DEL\n"


async def test_the_network_is_not_ready_without_its_plugin(
    net: DaemonUnderTest, client: CriClient
) -> None:
    plugin = net.root / "cni-bin" / "flaky"
    aside = plugin.rename(plugin.with_suffix(".off"))
    try:
        reply = await client.runtime.status(pb.StatusRequest())
        (condition,) = [c for c in reply.status.conditions if c.type == "NetworkReady"]
        assert not condition.status
        assert "'flaky'" in condition.message
        with pytest.raises(GRPCError):
            await client.run_pod(client.pod_config("unwired"))
        # One on the host's network needs none.
        options = pb.NamespaceOption(network=pb.NamespaceMode.NODE)
        context = pb.LinuxSandboxSecurityContext(namespace_options=options)
        linux = pb.LinuxPodSandboxConfig(security_context=context)
        id = await client.run_pod(client.pod_config("hosted", linux=linux, hostname=""))
        assert (await network_of(client, id)).ip == ""
        await client.remove_pod(id)
    finally:
        aside.rename(plugin)


async def test_a_reboot_frees_what_plugins_hold(net: DaemonUnderTest, client: CriClient) -> None:
    """Of a host that came up again: pods are not ready, not lost, and their addresses are free, be it that a plugin
    does not work at first."""
    id = await client.run_pod(client.pod_config("before"))
    assert len(leases(net)) == 2
    await net.kill9()
    with contextlib.closing(sqlite3.connect(net.root / "state/sharedrt.db")) as database:
        change_records(database, "sandboxes", {"boot_id": "00000000-0000-0000-0000-000000000000"})
        database.commit()
    (net.root / "fails").write_text("DEL\n")
    (net.root / "flaky.log").unlink()
    await net.start()
    async with cri_client(net.socket("cri"), net.root / "pods") as again:
        await until((net.root / "flaky.log").exists)
        assert len(leases(net)) == 2
        (net.root / "fails").unlink()
        await until(lambda: not leases(net))
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=id)
        status = (await again.runtime.pod_sandbox_status(request)).status
        assert status.state == pb.PodSandboxState.SANDBOX_NOTREADY
        await again.remove_pod(id)
