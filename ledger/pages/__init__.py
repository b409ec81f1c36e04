"""Nights as pages for people: pictures, frames, and what the archive got, in files that need nothing else.

Reads only, but for the pages themselves.
"""
