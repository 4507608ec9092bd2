"""Records to store, with the fields that a test cares about."""

from sharedrt.model import records as r
from sharedrt.model.ids import (
    ContainerId,
    Digest,
    EndpointId,
    ExecId,
    LeaseId,
    NetworkId,
    OperationId,
    SandboxId,
    SnapshotKey,
)
from sharedrt.model.spec import ContainerSpec, Mount, MountKind
from sharedrt.model.stores import Transaction


def digest(number: int = 0) -> Digest:
    return Digest(f"sha256:{number:064x}")


def blob(number: int = 0, **fields: object) -> r.BlobRecord:
    return r.BlobRecord(digest(number), 10 + number, **fields)  # type: ignore[arg-type]


def container(
    id_: str = "c1", name: str = "", *, image: int | None = None, volume: str = "", **fields: object
) -> r.ContainerRecord:
    mounts = (Mount(MountKind.VOLUME, volume, "/data"),) if volume else ()
    image_id = Digest("") if image is None else digest(image)
    return r.ContainerRecord(
        ContainerId(id_),
        name,
        "docker.io/library/busybox:latest",
        image_id,
        ContainerSpec(args=("true",), mounts=mounts),
        **fields,  # type: ignore[arg-type]
    )


def sandbox(id_: str = "s1", name: str = "web", attempt: int = 0) -> r.SandboxRecord:
    return r.SandboxRecord(SandboxId(id_), name, "uid", "default", attempt, r.SandboxSpec())


def image(reference: str = "docker.io/library/busybox:latest", number: int = 0) -> r.ImageRecord:
    """Three blobs: target, manifest and configuration are ``number``, +1 and +2."""
    target = r.Descriptor("application/vnd.oci.image.index.v1+json", digest(number), 10 + number)
    return r.ImageRecord(reference, target, digest(number + 2), digest(number + 1))


def snapshot(key: str = "k1", parent: str | None = None, directory: str = "d") -> r.SnapshotRecord:
    above = None if parent is None else SnapshotKey(parent)
    return r.SnapshotRecord(SnapshotKey(key), r.SnapshotKind.COMMITTED, above, directory)


def network(id_: str = "n1", name: str = "bridge") -> r.NetworkRecord:
    return r.NetworkRecord(NetworkId(id_), name, "bridge", subnets=("10.1.0.0/24",))


def endpoint(
    id_: str = "e1",
    network_id: str = "n1",
    addresses: tuple[str, ...] = (),
    ports: tuple[r.PortMapping, ...] = (),
    owner: str = "c1",
) -> r.EndpointRecord:
    return r.EndpointRecord(
        EndpointId(id_), NetworkId(network_id), owner, addresses=addresses, ports=ports
    )


def port(host_port: int, host_ip: str = "", protocol: str = "tcp") -> r.PortMapping:
    return r.PortMapping(protocol, 80, host_port, host_ip)


def exec_(id_: str = "x1", container_id: str = "c1") -> r.ExecRecord:
    return r.ExecRecord(ExecId(id_), ContainerId(container_id), ("sh",), exit_code=None)


def lease(id_: str = "l1") -> r.LeaseRecord:
    return r.LeaseRecord(LeaseId(id_), resources=(("content", digest()),), expires_ns=5)


def operation(id_: str = "o1") -> r.OperationRecord:
    return r.OperationRecord(OperationId(id_), "sandbox.run", "s1", {"step": [1, None]})


def build_step(key: str = "b1", layer: int = 1) -> r.BuildStepRecord:
    blob = r.Descriptor("application/vnd.oci.image.layer.v1.tar", digest(layer), 10 + layer)
    return r.BuildStepRecord(key, "{}", SnapshotKey("k1"), (blob,), "RUN true")


def fill(tx: Transaction) -> None:
    """One row, or more, in each of a namespace's tables but ``image_shares``, referring to one another."""
    for number in range(3):
        tx.blobs.grant(blob(number, labels={"a": "b"}))
    tx.sandboxes.add(sandbox())
    tx.snapshots.add(snapshot())
    tx.snapshots.add(snapshot("k2", "k1"))
    tx.volumes.add(r.VolumeRecord("v1", labels={"a": "b"}))
    tx.images.add(image())
    tx.containers.add(
        container(
            name="web",
            image=2,
            volume="v1",
            sandbox_id=SandboxId("s1"),
            snapshot_key=SnapshotKey("k2"),
        )
    )
    tx.execs.add(exec_())
    tx.leases.add(lease())
    tx.networks.add(network())
    tx.endpoints.add(endpoint(addresses=("10.1.0.2/24",)))
    tx.events.append(1, "container", "create", "c1", {"name": "web"})
    tx.operations.add(operation())
    tx.build_steps.add(build_step())
    tx.build_caches.add(r.BuildCacheRecord("f1", "/root/.cache"))
