"""The build cache: what instructions made, and the folders that cache mounts keep.

Going down drops both: the next builds begin anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "build_caches",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_build_caches_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_build_caches"),
    )
    op.create_table(
        "build_steps",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("snapshot_key", sa.String(), nullable=True),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "snapshot_key"],
            ["snapshots.namespace", "snapshots.key"],
            name="fk_build_steps_namespace_snapshot_key",
        ),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_build_steps_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "key", name="pk_build_steps"),
    )
    op.create_index(
        "ix_build_steps_namespace_snapshot_key",
        "build_steps",
        ["namespace", "snapshot_key"],
        unique=False,
    )
    op.create_table(
        "build_step_layers",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "digest"],
            ["blob_access.namespace", "blob_access.digest"],
            name="fk_build_step_layers_namespace_digest",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "step"],
            ["build_steps.namespace", "build_steps.key"],
            name="fk_build_step_layers_namespace_step",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_build_step_layers_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "step", "digest", name="pk_build_step_layers"),
    )
    op.create_index(
        "ix_build_step_layers_namespace_digest",
        "build_step_layers",
        ["namespace", "digest"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("build_step_layers")
    op.drop_table("build_steps")
    op.drop_table("build_caches")
