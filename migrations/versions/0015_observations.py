"""Views of observations and of frames, for people. Views are made anew with every migration.

Revision ID: 0015
Revises: 0014
"""

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""


def downgrade() -> None:
    """Take the schema back to the revision before."""
