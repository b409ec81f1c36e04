"""What lies in a night's folder and is carried by nothing: other cameras' folders, logs, notes."""

from collections.abc import Sequence
from pathlib import Path, PurePath

from ledger.config.model import Config
from ledger.disk.access import is_folder, translate_read_errors
from ledger.disk.nights import NightFolder
from ledger.text import counted, printable
from stages.further import SUMS, further_files, is_named, raw_headers_sha256

#: Files that are named one by one.
_MOST_NAMED = 3


def uncarried(config: Config, night: NightFolder) -> list[str]:
    """Return the files of a night that stay here although its products go: no raw files, and not named to be sent.

    Raw streams and the product folder are not looked into. None if products of the night are not sent at all, or the
    night is on another host.

    Raises
    ------
    LedgerError
        If the folder cannot be read.
    """
    site, instrument = config.site(night.pipeline), config.instrument
    if site.sending is None or not site.has_nights or not is_folder(night.path):
        return []
    also = config.parameters(site.sending).get("also") or ()
    with translate_read_errors(night.path):
        names = further_files(night.path, {instrument.product_folder, *(stream.name for stream in instrument.streams)})
    own = Path(instrument.manifest.format(date=night.date))
    return [printable(str(name)) for name in names if not (_is_own(name, own) or is_named(name, also))]


def stay_behind(names: Sequence[str]) -> str:
    """Return in words which files stay behind."""
    more = len(names) - _MOST_NAMED
    shown = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{counted(len(names), 'file')} in its folder that nothing carries to the destination: {shown}"


def how_to_carry(config: Config, pipeline: str) -> str:
    """Return what to do about files that stay behind."""
    if config.site(pipeline).part != "all":
        return "send them by hand if they are wanted there"
    key = f"states.{config.site(pipeline).sending}.parameters.also"
    return f'name those that are wanted there in {key}, such as "apapane/**"'


def _is_own(name: PurePath, manifest: Path) -> bool:
    """Whether the ledger wrote a file of the night's folder: checksums, raw headers, or a manifest."""
    is_manifest = name.stem == manifest.stem or name.stem.startswith(f"{manifest.stem}_supplement")
    is_derived = name.name == SUMS or raw_headers_sha256(name.name) is not None
    return len(name.parts) == 1 and (is_derived or (is_manifest and name.suffix == manifest.suffix))
