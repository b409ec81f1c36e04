"""How files get to a destination and are proven there.

For other rooms: `choice.transport_of`, `base`, `proof`.
"""
