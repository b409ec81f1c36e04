"""No state changes without its entry. The guards alone change, which are made anew with every migration.

Revision ID: 0013
Revises: 0012
"""

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""


def downgrade() -> None:
    """Take the schema back to the revision before."""
