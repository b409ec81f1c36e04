"""The configuration: read, and checked as a whole.

For other rooms: `read.read_config`, `model.Config`, `stages.load_stages`, `urls`.
"""
