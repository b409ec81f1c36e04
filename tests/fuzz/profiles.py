"""How often: a fixed sample for every day, or ever new examples for as long as one has time (``make fuzz``)."""

import os

from hypothesis import HealthCheck, Phase, settings

#: What ``make fuzz`` sets; ``all`` is a hundred times the sample, a number that many times.
VARIABLE = "TEST_FUZZ"

_LONG = 100


def factor():
    """Return how many times the sample is to be taken; 1 for the sample that is the same in every run."""
    asked = os.environ.get(VARIABLE, "")
    return _LONG if asked == "all" else int(asked or 1)


def fuzz(n):
    """Take `n` examples, or many times as many; nothing depends on the machine's speed."""
    return settings(
        derandomize=factor() == 1,
        database=None,
        deadline=None,
        max_examples=n * factor(),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )
