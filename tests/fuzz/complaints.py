"""What every refusal has in common, whatever was refused."""

import contextlib
import resource

#: What a reader may take beyond what the process has, bytes: a header's claim of more must not be believed.
MOST_BYTES = 1 << 30


def is_one_clear_line(message, *names):
    """Return whether a message is for a terminal: one line of printable text that says where."""
    return message.isprintable() and len(message) < 4000 and all(str(name) in message for name in names)


@contextlib.contextmanager
def little_memory():
    """Refuse the process more than MOST_BYTES on top of what it has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
