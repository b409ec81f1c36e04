"""Tables, sessions, migrations, backups.

For other rooms: `store` for whatever reads and writes, `models` for its queries, `backup`.
"""
