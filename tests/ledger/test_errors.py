"""Errors of stages and of the ledger are two trees of different names, with one translation between them."""

import inspect

import pytest

from ledger import errors
from ledger.errors import CannotUndo, NotReady, UsageError, translated
from stages import base


@pytest.mark.parametrize(
    ("of_a_stage", "of_the_ledger", "exit_status"),
    [
        (base.BadInput, UsageError, 2),
        (base.Retry, NotReady, 1),
        (base.Stopped, NotReady, 1),
        (base.Irreversible, CannotUndo, 1),
    ],
)
def test_each_error_of_a_stage_has_its_own_of_the_ledger(of_a_stage, of_the_ledger, exit_status):
    cause = of_a_stage("what, where, found, expected, next step")
    with pytest.raises(of_the_ledger) as caught, translated():
        raise cause
    assert (type(caught.value), str(caught.value)) == (of_the_ledger, str(cause))
    assert caught.value.__cause__ is cause
    assert caught.value.exit_status == exit_status


@pytest.mark.parametrize("other", [ValueError("a bug"), OSError("a disk"), UsageError("the ledger's own")])
def test_other_errors_stay_what_they_are(other):
    with pytest.raises(type(other)) as caught, translated():
        raise other
    assert caught.value is other


def test_no_name_is_in_both_trees():
    def names(module, root):
        return {name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, root)}

    stage, ledger = names(base, base.StageError), names(errors, errors.LedgerError)
    assert {"BadInput", "Retry", "Irreversible"} <= stage  # what users' own states import
    assert stage & ledger == set()
