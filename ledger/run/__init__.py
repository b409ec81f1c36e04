"""A night taken forward and back, and put in order after a kill.

For other rooms: `machine`, `plan`, `catch_up`, `quarantine`; `steps` for rooms above.
"""
