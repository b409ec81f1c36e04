"""A process that dies before a step at the destination."""

import os
import sys

from stages import transferred

STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def run(function, job, dies_at, below):
    """Go one way, and die before the n-th step on a path that names a folder."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in STEPS and below in str(arguments[0]):
            count += 1
            if count == dies_at:
                os._exit(9)

    sys.addaudithook(hook)
    getattr(transferred, function)(job=job, params=transferred.Parameters(in_flight=1))
