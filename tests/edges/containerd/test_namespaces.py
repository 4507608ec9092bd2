"""Namespaces, version and introspection."""

import pytest
from betterproto.lib.google.protobuf import Empty, FieldMask
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.pb.containerd.services.introspection import v1 as introspection
from sharedrt.pb.containerd.services.namespaces import v1 as pb
from sharedrt.pb.containerd.services.version.v1 import VersionStub
from tests.edges.containerd.fakes import HOST, FakeRuntime


async def test_namespaces(channel: Channel, runtime: FakeRuntime) -> None:
    stub = pb.NamespacesStub(channel)
    team = pb.Namespace(name="team", labels={"a": "1", "b": "2"})
    await stub.create(pb.CreateNamespaceRequest(namespace=team))
    listed = (await stub.list(pb.ListNamespacesRequest())).namespaces
    assert [n.name for n in listed] == ["k8s.io", "moby", "team"]
    change = pb.Namespace(name="team", labels={"a": "", "c": "3"})
    mask = FieldMask(paths=["labels.a", "labels.c"])
    await stub.update(pb.UpdateNamespaceRequest(namespace=change, update_mask=mask))
    found = (await stub.get(pb.GetNamespaceRequest(name="team"))).namespace
    assert found.labels == {"b": "2", "c": "3"}
    await stub.delete(pb.DeleteNamespaceRequest(name="team"))
    assert "team" not in runtime.all_namespaces.records


async def test_refusals(channel: Channel) -> None:
    stub = pb.NamespacesStub(channel)
    moby = pb.Namespace(name="moby")
    for call, status in (
        (stub.create(pb.CreateNamespaceRequest(namespace=moby)), Status.ALREADY_EXISTS),
        (
            stub.create(pb.CreateNamespaceRequest(namespace=pb.Namespace(name="a/b"))),
            Status.INVALID_ARGUMENT,
        ),
        (stub.get(pb.GetNamespaceRequest(name="x")), Status.NOT_FOUND),
        (stub.delete(pb.DeleteNamespaceRequest(name="x")), Status.NOT_FOUND),
        (stub.delete(pb.DeleteNamespaceRequest(name="moby")), Status.FAILED_PRECONDITION),
    ):
        with pytest.raises(GRPCError) as caught:
            await call
        assert caught.value.status is status


async def test_version_and_plugins(channel: Channel) -> None:
    version = await VersionStub(channel).version(Empty())
    assert (version.version, version.revision) == (HOST.version, HOST.git_commit)
    stub = introspection.IntrospectionStub(channel)
    server = await stub.server(Empty())
    assert server.uuid == HOST.instance_id
    assert server.pid > 0
    plugins = (await stub.plugins(introspection.PluginsRequest())).plugins
    assert ("io.containerd.snapshotter.v1", "overlayfs") in [(p.type, p.id) for p in plugins]
    request = introspection.PluginsRequest(filters=["type~=runtime"])
    assert [p.id for p in (await stub.plugins(request)).plugins] == ["crun", "runc"]
