"""``containerd.services.version.v1`` and ``.introspection.v1``: what this daemon is."""

import os
from collections.abc import Sequence
from typing import Final

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import Service
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.pb.containerd import types
from sharedrt.pb.containerd.services.introspection import v1 as introspection
from sharedrt.pb.containerd.services.version import v1 as version
from sharedrt.services.contracts import HostInfo

SNAPSHOTTER: Final = "overlayfs"

_SERVICES: Final = (
    "containers",
    "content",
    "events",
    "images",
    "introspection",
    "leases",
    "namespaces",
    "snapshots",
    "tasks",
    "version",
)


class VersionService(Service, version.VersionBase):
    """Our own version: clients compare it with theirs to warn, not to refuse."""

    def __init__(self, host: HostInfo) -> None:
        self._host = host

    async def version(
        self, betterproto_lib_google_protobuf_empty: Empty
    ) -> version.VersionResponse:
        return version.VersionResponse(version=self._host.version, revision=self._host.git_commit)


class IntrospectionService(Service, introspection.IntrospectionBase):
    """The parts that answer at this door, listed in containerd's words."""

    def __init__(self, host: HostInfo) -> None:
        self._host = host
        self._plugins = _plugins(host)

    async def plugins(
        self, plugins_request: introspection.PluginsRequest
    ) -> introspection.PluginsResponse:
        found = select(
            self._plugins,
            plugins_request.filters,
            lambda p: fields_of({"type": p.type, "id": p.id}),
        )
        return introspection.PluginsResponse(plugins=found)

    async def server(
        self, betterproto_lib_google_protobuf_empty: Empty
    ) -> introspection.ServerResponse:
        return introspection.ServerResponse(
            uuid=self._host.instance_id, pid=os.getpid(), pidns=os.stat("/proc/self/ns/pid").st_ino
        )


def _plugins(host: HostInfo) -> Sequence[introspection.Plugin]:
    platform = types.Platform(os="linux", architecture=host.architecture)
    plugins = [
        introspection.Plugin(type="io.containerd.content.v1", id="content"),
        introspection.Plugin(
            type="io.containerd.snapshotter.v1", id=SNAPSHOTTER, platforms=[platform]
        ),
    ]
    plugins += [
        introspection.Plugin(type="io.containerd.runtime.v2", id=name, platforms=[platform])
        for name in sorted(host.runtimes)
    ]
    plugins += [introspection.Plugin(type="io.containerd.grpc.v1", id=name) for name in _SERVICES]
    return plugins
