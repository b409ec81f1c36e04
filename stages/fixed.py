"""fixed: the product's header obeys the instrument's dictionary.

See docs/design.md, Dictionary.

A header is a pure function of the raw file's header and the product, so it is written whole, and never
read from the product's own cube: a torn write leaves nothing to read there.
"""

from stages.base import BadInput, Job, Level, Outcome, Rewrite
from stages.fits.header import HeaderRules, check_room, product_header

Parameters = HeaderRules

#: Reads and writes nothing but headers.
HEADER_ONLY = True

LEVEL: Level = "fixed"


def forward(*, job: Job, params: HeaderRules) -> Outcome:
    """Give the product's cube the header of level ``fixed``.

    Parameters
    ----------
    job : Job
        With one product.
    params : HeaderRules
        The night's.

    Returns
    -------
    Outcome
        With the header to be written, and a remark for each value that its format could not hold.

    Raises
    ------
    BadInput
        If the product has no cube, or its header cannot be made.
    Retry
        If the raw file could not be read.
    """
    return _rewrite(job, "fixed", params)


def reverse(*, job: Job, params: HeaderRules) -> Outcome:
    """Give the product's cube the header of level ``consolidated`` back.

    Parameters
    ----------
    job : Job
        With one product.
    params : HeaderRules
        The night's.

    Returns
    -------
    Outcome
        With the header to be written.

    Raises
    ------
    BadInput
        If the product has no cube, or its header cannot be made.
    Retry
        If the raw file could not be read.
    """
    return _rewrite(job, "consolidated", params)


def _rewrite(job: Job, level: Level, params: HeaderRules) -> Outcome:
    product = job.product
    if not product.files:
        raise BadInput(f"product {product.name} has no files, expected a cube and a txt; consolidate it first")
    cube = job.folder / product.files[0]
    header, remarks = product_header(job, level, params)
    check_room(header, [cube])
    return Outcome(rewrites=(Rewrite(candidates=(cube,), header=header, final=cube),), remarks=remarks)
