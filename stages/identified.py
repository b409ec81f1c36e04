"""identified: the product carries its frame ID in its header and in the names of its files.

See docs/design.md, Frame IDs.

An interrupted call leaves each file under its old or its new name and the header in any condition, so both
names are candidates, and the header is made anew from the raw file's.
"""

from stages.base import BadInput, Job, Level, Outcome, Rename, Rewrite
from stages.fits.header import HeaderRules, check_room, product_header
from stages.product import Product

Parameters = HeaderRules

#: Reads and writes nothing but headers, and renames.
HEADER_ONLY = True

LEVEL: Level = "identified"


def forward(*, job: Job, params: HeaderRules) -> Outcome:
    """Write frame ID and exposure ID into the product's cube, and name its files by the frame ID.

    Parameters
    ----------
    job : Job
        With one product, which has its frame ID.
    params : HeaderRules
        The night's.

    Returns
    -------
    Outcome
        With the header to be written, the files to be renamed, and their new names.

    Raises
    ------
    BadInput
        If the product has no frame ID or no files, or its header cannot be made.
    Retry
        If the raw file could not be read.
    """
    return _rename(job, _frame_id(job.product), "identified", params)


def reverse(*, job: Job, params: HeaderRules) -> Outcome:
    """Give the product's cube the header of level ``fixed`` back, and its files their own names.

    Parameters
    ----------
    job : Job
        With one product, which still has its frame ID.
    params : HeaderRules
        The night's.

    Returns
    -------
    Outcome
        With the header to be written, the files to be renamed, and their names.

    Raises
    ------
    BadInput
        If the product has no frame ID or no files, or its header cannot be made.
    Retry
        If the raw file could not be read.
    """
    return _rename(job, job.product.name, "fixed", params)


def _rename(job: Job, stem: str, level: Level, params: HeaderRules) -> Outcome:
    """Return the outcome that gives all files of the product the stem `stem`, wherever they are now."""
    product = job.product
    stems = {product.name, _frame_id(product)}
    (other,) = stems - {stem}
    suffixes = [_suffix(product, name, stems) for name in product.files]
    if not suffixes:
        raise BadInput(f"product {product.name} has no files, expected a cube and a txt; consolidate it first")
    old = [job.folder / f"{other}{suffix}" for suffix in suffixes]
    new = [job.folder / f"{stem}{suffix}" for suffix in suffixes]
    header, _ = product_header(job, level, params)
    check_room(header, [old[0], new[0]])
    return Outcome(
        rewrites=(Rewrite(candidates=(old[0], new[0]), header=header, final=new[0]),),
        renames=tuple(Rename(source, final) for source, final in zip(old[1:], new[1:], strict=True)),
        facts={product.identity: {"files": [path.name for path in new]}},
    )


def _frame_id(product: Product) -> str:
    if product.frame_id is None:
        raise BadInput(f"product {product.name} has no frame ID, expected one; number its night first")
    return product.frame_id


def _suffix(product: Product, name: str, stems: set[str]) -> str:
    """Return what follows the product's name or its frame ID in the name of one of its files."""
    for stem in stems:
        if name.startswith(stem):
            return name.removeprefix(stem)
    raise BadInput(f"product {product.name} has the file {name!r}, expected a name that starts with {sorted(stems)}")
