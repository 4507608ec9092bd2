"""Images lent between namespaces, and the journal of operations under way.

Going down drops both: shares are withdrawn, and intents are forgotten, so go down only on an idle node.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_shares",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("borrower", sa.String(), nullable=False),
        sa.Column("pattern", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["borrower"], ["namespaces.name"], name="fk_image_shares_borrower"),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_image_shares_namespace"
        ),
        sa.PrimaryKeyConstraint("namespace", "borrower", "pattern", name="pk_image_shares"),
    )
    op.create_index("ix_image_shares_borrower", "image_shares", ["borrower"], unique=False)
    op.create_table(
        "operations",
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_operations_namespace"),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_operations"),
    )


def downgrade() -> None:
    op.drop_table("operations")
    op.drop_table("image_shares")
