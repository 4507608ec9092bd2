"""Namespaces, what runs in them, what it runs from, and what happened."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    op.create_table(
        "namespaces",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last_event", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_namespaces"),
    )
    op.create_table(
        "blob_access",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blobs.digest"], name="fk_blob_access_digest"),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_blob_access_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "digest", name="pk_blob_access"),
    )
    op.create_index("ix_blob_access_digest", "blob_access", ["digest"], unique=False)
    op.create_table(
        "events",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_events_namespace"),
        sa.PrimaryKeyConstraint("namespace", "sequence", name="pk_events"),
    )
    op.create_index("ix_events_namespace_time_ns", "events", ["namespace", "time_ns"], unique=False)
    op.create_table(
        "leases",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_leases_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_leases"),
    )
    op.create_table(
        "networks",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_networks_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_networks"),
        sa.UniqueConstraint("namespace", "name", name="uq_networks_namespace_name"),
    )
    op.create_table(
        "sandboxes",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("pod_namespace", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_sandboxes_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_sandboxes"),
        sa.UniqueConstraint(
            "namespace",
            "pod_namespace",
            "name",
            "uid",
            "attempt",
            name="uq_sandboxes_namespace_pod_namespace_name_uid_attempt",
        ),
    )
    op.create_table(
        "snapshots",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "parent"],
            ["snapshots.namespace", "snapshots.key"],
            name="fk_snapshots_namespace_parent",
        ),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_snapshots_namespace"),
        sa.PrimaryKeyConstraint("namespace", "key", name="pk_snapshots"),
    )
    op.create_index(
        "ix_snapshots_namespace_parent", "snapshots", ["namespace", "parent"], unique=False
    )
    op.create_table(
        "volumes",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_volumes_namespace"),
        sa.PrimaryKeyConstraint("namespace", "name", name="pk_volumes"),
    )
    op.create_table(
        "containers",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("image_id", sa.String(), nullable=True),
        sa.Column("sandbox_id", sa.String(), nullable=True),
        sa.Column("snapshot_key", sa.String(), nullable=True),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "image_id"],
            ["blob_access.namespace", "blob_access.digest"],
            name="fk_containers_namespace_image_id",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "sandbox_id"],
            ["sandboxes.namespace", "sandboxes.id"],
            name="fk_containers_namespace_sandbox_id",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "snapshot_key"],
            ["snapshots.namespace", "snapshots.key"],
            name="fk_containers_namespace_snapshot_key",
        ),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_containers_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_containers"),
        sa.UniqueConstraint("namespace", "name", name="uq_containers_namespace_name"),
    )
    op.create_index(
        "ix_containers_namespace_image_id", "containers", ["namespace", "image_id"], unique=False
    )
    op.create_index(
        "ix_containers_namespace_sandbox_id",
        "containers",
        ["namespace", "sandbox_id"],
        unique=False,
    )
    op.create_index(
        "ix_containers_namespace_snapshot_key",
        "containers",
        ["namespace", "snapshot_key"],
        unique=False,
    )
    op.create_table(
        "endpoints",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("network_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "network_id"],
            ["networks.namespace", "networks.id"],
            name="fk_endpoints_namespace_network_id",
        ),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_endpoints_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_endpoints"),
        sa.UniqueConstraint(
            "namespace", "id", "network_id", name="uq_endpoints_namespace_id_network_id"
        ),
    )
    op.create_index(
        "ix_endpoints_namespace_network_id", "endpoints", ["namespace", "network_id"], unique=False
    )
    op.create_index(
        "ix_endpoints_namespace_owner", "endpoints", ["namespace", "owner"], unique=False
    )
    op.create_table(
        "images",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("image_id", sa.String(), nullable=True),
        sa.Column("manifest", sa.String(), nullable=True),
        sa.Column("target_digest", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "image_id"],
            ["blob_access.namespace", "blob_access.digest"],
            name="fk_images_namespace_image_id",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "manifest"],
            ["blob_access.namespace", "blob_access.digest"],
            name="fk_images_namespace_manifest",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "target_digest"],
            ["blob_access.namespace", "blob_access.digest"],
            name="fk_images_namespace_target_digest",
        ),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_images_namespace"),
        sa.PrimaryKeyConstraint("namespace", "reference", name="pk_images"),
    )
    op.create_index(
        "ix_images_namespace_image_id", "images", ["namespace", "image_id"], unique=False
    )
    op.create_index(
        "ix_images_namespace_manifest", "images", ["namespace", "manifest"], unique=False
    )
    op.create_index(
        "ix_images_namespace_target_digest", "images", ["namespace", "target_digest"], unique=False
    )
    op.create_table(
        "container_volumes",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("container_id", sa.String(), nullable=False),
        sa.Column("volume", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "container_id"],
            ["containers.namespace", "containers.id"],
            name="fk_container_volumes_namespace_container_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "volume"],
            ["volumes.namespace", "volumes.name"],
            name="fk_container_volumes_namespace_volume",
        ),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_container_volumes_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "container_id", "volume", name="pk_container_volumes"),
    )
    op.create_index(
        "ix_container_volumes_namespace_volume",
        "container_volumes",
        ["namespace", "volume"],
        unique=False,
    )
    op.create_table(
        "endpoint_addresses",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("network_id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "endpoint_id", "network_id"],
            ["endpoints.namespace", "endpoints.id", "endpoints.network_id"],
            name="fk_endpoint_addresses_namespace_endpoint_id_network_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_endpoint_addresses_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "network_id", "address", name="pk_endpoint_addresses"),
    )
    op.create_index(
        "ix_endpoint_addresses_namespace_endpoint_id",
        "endpoint_addresses",
        ["namespace", "endpoint_id"],
        unique=False,
    )
    op.create_table(
        "execs",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("container_id", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "container_id"],
            ["containers.namespace", "containers.id"],
            name="fk_execs_namespace_container_id",
        ),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_execs_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_execs"),
    )
    op.create_index(
        "ix_execs_namespace_container_id", "execs", ["namespace", "container_id"], unique=False
    )
    op.create_table(
        "published_ports",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("host_port", sa.BigInteger(), nullable=False),
        sa.Column("host_ip", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "endpoint_id"],
            ["endpoints.namespace", "endpoints.id"],
            name="fk_published_ports_namespace_endpoint_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_published_ports_namespace"
        ),
        sa.PrimaryKeyConstraint(
            "namespace", "protocol", "host_port", "host_ip", name="pk_published_ports"
        ),
        sa.UniqueConstraint(
            "protocol", "host_port", "host_ip", name="uq_published_ports_protocol_host_port_host_ip"
        ),
    )
    op.create_index(
        "ix_published_ports_namespace_endpoint_id",
        "published_ports",
        ["namespace", "endpoint_id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("published_ports")
    op.drop_table("execs")
    op.drop_table("endpoint_addresses")
    op.drop_table("container_volumes")
    op.drop_table("images")
    op.drop_table("endpoints")
    op.drop_table("containers")
    op.drop_table("volumes")
    op.drop_table("snapshots")
    op.drop_table("sandboxes")
    op.drop_table("networks")
    op.drop_table("leases")
    op.drop_table("events")
    op.drop_table("blob_access")
    op.drop_table("namespaces")
    op.drop_table("blobs")
