"""Builds the parts and wires them: the one place that knows every class.

Order matters twice: the database's lock is taken first, so that a second daemon on the same folders
touches nothing; and doors open last, when recovery is done.
"""

import asyncio
import gc
import grp
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
import uvloop

from sharedrt import __version__
from sharedrt.aio.logsetup import set_up_logging
from sharedrt.aio.looplag import measure_loop_lag
from sharedrt.aio.notify import notify
from sharedrt.aio.priority import default_pool, favour
from sharedrt.aio.tasks import TaskOwner
from sharedrt.config import Config
from sharedrt.drivers.cgroups import CgroupManager
from sharedrt.drivers.checkpoints import TarCheckpoints
from sharedrt.drivers.content import FileContentStore
from sharedrt.drivers.dns import HostNameServers
from sharedrt.drivers.download import HttpDownloader, parse_networks
from sharedrt.drivers.git import HostGit
from sharedrt.drivers.hostcheck import check_host
from sharedrt.drivers.hostfs import HostFs
from sharedrt.drivers.hostinfo import (
    HostFacts,
    cni_version,
    engine_id,
    find_tool,
    read_host_facts,
    security_options,
    storage_status,
    tool_versions,
)
from sharedrt.drivers.logs import FileLogReader, FileLogRotator, HostLogForwarder
from sharedrt.drivers.network.bridge import HostBridges
from sharedrt.drivers.network.cni import CniPlugins
from sharedrt.drivers.network.namespaces import PinnedNamespaces
from sharedrt.drivers.oci.cdi import cdi_device_names
from sharedrt.drivers.oci.runtime import OciDriver
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.drivers.oci.users import RootfsUsers
from sharedrt.drivers.overlay.snapshotter import OverlaySnapshotter
from sharedrt.drivers.registry.client import HttpRegistry
from sharedrt.drivers.registry.configured import configured_registries
from sharedrt.drivers.unpack.archiver import ChrootArchiver
from sharedrt.drivers.unpack.unpacker import ChrootUnpacker
from sharedrt.drivers.volumes import LocalVolumeFolders
from sharedrt.edges.admin import AdminDoor
from sharedrt.edges.containerd import ContainerdDoor
from sharedrt.edges.cri import CriDoor
from sharedrt.edges.docker.app import make_docker_app
from sharedrt.edges.docker.call import DockerSettings
from sharedrt.edges.docker.peers import members_of
from sharedrt.edges.docker.serve import make_tls, serve
from sharedrt.edges.streaming import StreamingDoor
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import DOCKER_NAMESPACE
from sharedrt.services.contracts import HostInfo
from sharedrt.services.networks import NetworkSettings, pod_subnets
from sharedrt.services.parts import Drivers, RuntimeSettings
from sharedrt.services.runtime import RuntimeService
from sharedrt.store import SqliteDatabase, migrate_apart

log = structlog.get_logger(__name__)

SWITCH_INTERVAL_S: Final = 0.0005


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises a fault when it cannot start."""
    try:
        set_up_logging(config.daemon.log_level, config.daemon.log_format)
    except ValueError as error:
        raise InvalidArgument("configuration", "daemon", str(error)) from error
    _make_folders(config)
    migrate_apart(config.database)
    uvloop.run(_serve(config))


def purge(config: Config) -> None:
    """Remove all that a daemon of this configuration has made on this host, its data too.

    Raises:
        FailedPrecondition: the daemon still runs.
    """
    set_up_logging("warning", config.daemon.log_format)
    gc.enable()
    uvloop.run(_purge(config))


async def _purge(config: Config) -> None:
    async with built(config) as runtime:
        await runtime.start(follow_policies=False)
        await runtime.remove_everything()
    host = HostFs()
    for folder in (config.daemon.run_dir, config.daemon.state_dir):
        await host.remove_tree(folder)


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.monotonic()
    if why := favour():
        log.warning("cannot be served first on a busy host", reason=why)
    loop.set_default_executor(default_pool())
    # The loop makes a system call after the other, and after each it may have to wait that long for a thread that
    # counts or parses. Python's own 5 ms would add up to half a second in a round of a hundred calls.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    owner = TaskOwner("daemon")
    owner.spawn(measure_loop_lag(), "loop lag")
    async with built(config) as runtime, AsyncExitStack() as doors:
        doors.push_async_callback(owner.aclose)
        await runtime.start()
        await _open_doors(config, runtime, doors)
        _settle_collector()
        log.info("ready", seconds=round(time.monotonic() - started, 3))
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping; containers run on")


def _make_folders(config: Config) -> None:
    for folder in (config.daemon.state_dir, config.daemon.run_dir):
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)


def _settle_collector() -> None:
    """What start-up made lives as long as the daemon, so the garbage collector need not look at it again, and
    collections become rarer: reading logs and listing make many short-lived objects and few cycles. What little of it
    is garbage is kept too: collecting it took 0.1 s of the start and freed nothing that could be measured."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@asynccontextmanager
async def built(config: Config) -> AsyncIterator[RuntimeService]:
    """All parts of a daemon with its doors closed and nothing recovered yet."""
    daemon, net = config.daemon, config.network
    _make_folders(config)
    facts = read_host_facts()
    async with AsyncExitStack() as stack:
        database = await SqliteDatabase.open(config.database, events_keep=config.store.events_keep)
        stack.push_async_callback(database.aclose)
        cgroups = CgroupManager(config.runtime.cgroup_driver)
        oci = await OciDriver.open(_oci_settings(config, cgroups), cgroups)
        stack.push_async_callback(oci.close)
        snapshotter = OverlaySnapshotter(daemon.state_dir / "snapshots")
        await snapshotter.start()
        stack.push_async_callback(snapshotter.aclose)
        registry = HttpRegistry(
            config.registry.config_dirs,
            insecure=config.registry.insecure,
            stall_timeout_s=config.registry.stall_timeout_s,
        )
        stack.push_async_callback(registry.aclose)
        unpacker = ChrootUnpacker(
            max_entries=config.runtime.layer_entries_max,
            max_bytes=config.runtime.image_bytes_max,
        )
        stack.push_async_callback(unpacker.aclose)
        bridge = HostBridges(table=net.nft_table, prefix=net.interface_prefix)
        stack.push_async_callback(bridge.aclose)
        name_servers = HostNameServers()
        stack.push_async_callback(name_servers.aclose)
        logs = FileLogReader()
        stack.push_async_callback(logs.aclose)
        log_rotator = FileLogRotator()
        stack.push_async_callback(log_rotator.aclose)
        drivers = Drivers(
            database=database,
            content=FileContentStore(daemon.state_dir / "content"),
            snapshotter=snapshotter,
            unpacker=unpacker,
            archiver=ChrootArchiver(
                unpacker,
                max_entries=config.runtime.layer_entries_max,
                max_bytes=config.runtime.image_bytes_max,
            ),
            volumes=LocalVolumeFolders(),
            users=RootfsUsers(),
            registry=registry,
            oci=oci,
            host=HostFs(),
            namespaces=PinnedNamespaces(daemon.run_dir / "files"),
            cgroups=cgroups,
            bridge=bridge,
            name_servers=name_servers,
            cni=CniPlugins(config.cni.conf_dir, config.cni.bin_dirs),
            logs=logs,
            checkpoints=TarCheckpoints(max_bytes=config.runtime.image_bytes_max),
            log_rotator=log_rotator,
            log_forwarder=HostLogForwarder(),
            downloader=HttpDownloader(
                stall_timeout_s=config.registry.stall_timeout_s,
                denied=parse_networks(
                    config.downloads.denied_networks, "downloads.denied_networks"
                ),
            ),
            git=HostGit(),
        )
        host = await _host_info(config, facts, cgroups, oci)
        runtime = RuntimeService(drivers, _runtime_settings(config, facts, cgroups), host)
        stack.push_async_callback(runtime.aclose)
        yield runtime


async def _open_doors(config: Config, runtime: RuntimeService, doors: AsyncExitStack) -> None:
    if config.cri.enabled:
        streaming = StreamingDoor()
        address, port = config.streaming.address, config.streaming.port
        await doors.enter_async_context(streaming.listening(address, port))
        door = CriDoor(runtime, streaming, config.cri.pinned_images)
        await doors.enter_async_context(door.listening(config.socket("cri")))
    if config.docker.enabled:
        await _open_docker(config, runtime, doors)
    if config.containerd.enabled:
        containerd = ContainerdDoor(runtime)
        await doors.enter_async_context(containerd.listening(config.socket("containerd")))
    if config.admin.enabled:
        admin = AdminDoor(
            runtime, ready=lambda: "", check=lambda: asyncio.to_thread(check_host, config)
        )
        await doors.enter_async_context(admin.listening(config.socket("admin")))


async def _open_docker(config: Config, runtime: RuntimeService, doors: AsyncExitStack) -> None:
    docker = config.docker
    app = make_docker_app(
        runtime.within(DOCKER_NAMESPACE),
        runtime.host,
        DockerSettings(
            registries=lambda: configured_registries(
                config.registry.config_dirs, config.registry.insecure
            ),
            address_pools=config.network.pools,
            init_binary=config.runtime.catatonit,
            debug=config.daemon.log_level == "debug",
            cdi_dirs=tuple(str(folder) for folder in config.runtime.cdi_dirs),
            cdi_devices=lambda: cdi_device_names(config.runtime.cdi_dirs),
            insecure_runs=config.builds.insecure_runs,
            agent_sockets=config.builds.agent_sockets,
        ),
    )
    tls = None
    if docker.tls_cert is not None and docker.tls_key is not None:
        tls = make_tls(docker.tls_cert, docker.tls_key, docker.tls_ca)
    group = _group(docker.group)
    server = await serve(
        app,
        unix=config.socket("docker"),
        group=group,
        peer_check=members_of(group),
        tcp=docker.tcp,
        tls=tls,
    )
    doors.push_async_callback(server.close)


def _group(name: str) -> int | None:
    """The group's number; ``None`` (root alone) where the host has no such group."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        log.info("no such group: the docker socket is root's alone", group=name)
        return None


def _oci_settings(config: Config, cgroups: CgroupManager) -> OciSettings:
    runtime = config.runtime
    parent = runtime.cgroup_parent
    if cgroups.driver == "systemd":
        parent = f"{parent.replace('-', '_')}.slice"
    return OciSettings(
        run_dir=config.daemon.run_dir / "oci",
        state_dir=config.daemon.state_dir / "oci",
        handlers=runtime.handlers,
        default_handler=runtime.default_handler or next(iter(runtime.handlers)),
        cgroup_parent=parent,
        conmon=runtime.conmon,
        catatonit=runtime.catatonit,
        criu=runtime.criu,
        cdi_dirs=runtime.cdi_dirs,
    )


def _runtime_settings(config: Config, facts: HostFacts, cgroups: CgroupManager) -> RuntimeSettings:
    net = config.network
    return RuntimeSettings(
        state_dir=config.daemon.state_dir,
        run_dir=config.daemon.run_dir,
        cgroup_root=config.runtime.cgroup_parent,
        systemd_cgroups=cgroups.driver == "systemd",
        catatonit=find_tool(config.runtime.catatonit),
        boot_id=facts.boot_id,
        platform=f"linux/{facts.architecture}",
        networks=NetworkSettings(
            bridge=net.bridge,
            subnet=net.subnet,
            pod_bridge=net.pod_bridge,
            pod_subnets=pod_subnets(net.pod_subnet, net.pod_second_subnet),
            pools=net.pools,
            mtu=net.mtu,
        ),
        max_downloads=config.registry.max_concurrent_downloads,
        max_uploads=config.registry.max_concurrent_uploads,
        image_bytes_max=config.runtime.image_bytes_max,
        build_cache_bytes_max=config.builds.cache_bytes_max,
        build_cache_days_max=config.builds.cache_days_max,
    )


async def _host_info(
    config: Config, facts: HostFacts, cgroups: CgroupManager, oci: OciDriver
) -> HostInfo:
    runtime = config.runtime
    tools = [runtime.conmon, *runtime.handlers.values(), runtime.catatonit]
    versions = dict(await tool_versions(tools, oci.runtimes_folder))
    if cni := await cni_version(config.cni.bin_dirs):
        versions["CNI"] = cni
    return HostInfo(
        hostname=facts.hostname,
        kernel=facts.kernel,
        operating_system=facts.operating_system,
        os_version=facts.os_version,
        architecture=facts.architecture,
        machine=facts.machine,
        cpus=facts.cpus,
        memory_bytes=facts.memory_bytes,
        version=__version__,
        git_commit="",
        go_os="linux",
        started_ns=time.time_ns(),
        cgroup_version=cgroups.version,
        cgroup_driver=cgroups.driver.value,
        storage_driver="overlay2",
        storage_status=await asyncio.to_thread(storage_status, config.daemon.state_dir),
        state_dir=str(config.daemon.state_dir),
        default_runtime=oci.default_handler,
        runtimes=oci.handlers(),
        security_options=await asyncio.to_thread(security_options),
        components=tuple(versions.items()),
        problems=tuple(f"{p.subject}: {p.reason}; {p.cure}" for p in oci.problems()),
        instance_id=await asyncio.to_thread(engine_id, config.daemon.state_dir),
    )
