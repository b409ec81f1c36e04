"""The tests; what they write goes to memory, where it can."""

from tests.memory import write_to_memory

write_to_memory()
