"""How often: a fixed sample for every day, or ever new examples for as long as one has time (``make fuzz``)."""

import os

from hypothesis import HealthCheck, Phase, settings

#: What ``make fuzz`` sets; ``all`` is a hundred times what a test names, a number that many times.
VARIABLE = "TEST_FUZZ"

_LONG = 100
#: Of what a test names, every day's sample takes one in so many.
_DAILY = 3


def factor():
    """Return how many times what a test names is to be taken; 0 for the sample that is the same in every run."""
    asked = os.environ.get(VARIABLE, "")
    return _LONG if asked == "all" else int(asked or 0)


def fuzz(n):
    """Take `n` examples, many times as many, or a part of them in the sample, whatever the machine's speed."""
    return settings(
        derandomize=factor() == 0,
        database=None,
        deadline=None,
        max_examples=n * factor() or -(-n // _DAILY),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )
