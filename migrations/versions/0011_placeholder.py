"""Placeholder until the one of the twins comes.

Revision ID: 0011
Revises: 0010
"""

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing."""


def downgrade() -> None:
    """Nothing."""
