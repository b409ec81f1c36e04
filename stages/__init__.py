"""Stages: one module per state. They know paths, arrays and headers; never the database."""
