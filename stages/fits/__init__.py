"""Raw cubes, headers, timing files and compressed cubes, read and written as bytes.

For other rooms: every module without `_`.
"""
