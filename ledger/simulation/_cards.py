"""Headers as the cameras' logger writes them: what a simulated night puts into its raw cubes.

A raw header is not tidy, and this one keeps what makes real ones hard (docs/design.md, A raw night and Dictionary):
fifteen digits where the dictionary has three, ``CD1_2 = -2.2401E-09`` under ``%20.8f``, quotes and
slashes within strings, empty strings of no width, text in a number's place, text wider than its
format, values that would print as zero, and keywords that no dictionary knows.
"""

import functools
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources

#: What the logger can be told to write into a card.
Value = str | int | float | bool

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

#: Hawaii standard time against UT (docs/design.md, A raw night).
HST = timedelta(hours=-10)

_DAY_US = 86_400_000_000
_MJD_OF_EPOCH = 40587
_MAUNA_KEA_DEG = -155.4761

#: Cards that do not change during a night, as they lie in a file.  ``PRD-RNG1/2`` are what the camera reads
#: out, however few pixels a simulated cube keeps: the tolerance of pairing comes from them, and timing noise
#: does not shrink with the frames.
_CONSTANT_CARDS = """\
AIRMASS =     1.13200001716614 / Typical air mass during exposure
ALTITUDE=             61.86687 / [deg] Altitude of telescope pointing
AUTOGUID= 'OFF     '           / Auto Guide ON/OFF
AZIMUTH =     61.7032300000001 / [deg] Azimuth of telescope pointing
BIN-FCT1=                    1 / [pixel] Binning factor of X axis
BIN-FCT2=                    1 / [pixel] Binning factor of Y axis
BUNIT   = 'adu       '         / Unit of original values
CD1_1   = 1.63888888888889E-06 / Pixel coordinate translation matrix
CD1_2   =          -2.2401E-09 / Pixel coordinate translation matrix
CD2_1   =           2.2401E-09 / Pixel coordinate translation matrix
CD2_2   = 1.63888888888889E-06 / Pixel coordinate translation matrix
CDELT1  =             1.64E-06 / X Scale projected on detector (#/pix)
CDELT2  =             1.64E-06 / Y Scale projected on detector (#/pix)
CROPPED =                    T / Partial Readout or cropped
CRPIX1  =                 268. / [pixel] Reference pixel in X
CRPIX2  =         267.99999999 / [pixel] Reference pixel in Y
CRVAL1  =     73.9396958333333 / Physical value of the reference pixel X
CRVAL2  =          30.55072500 / Physical value of the reference pixel Y
CTYPE1  = 'RA---TAN  '         / Pixel coordinate system
CTYPE2  = 'DEC--TAN  '         / Pixel coordinate system
CUNIT1  = 'deg       '         / Units used in both CRVAL1 and CDELT1
CUNIT2  = 'deg       '         / Units used in both CRVAL2 and CDELT2
DEC     = '+30:33:02.57'       / DEC of telescope pointing (+/-DD:MM:SS.SS)
DEC2000 = '+30:33:02.57'       / DEC(J2000) of pointing (+/-DD:MM:SS.SS)
DET-TMP =      258.14999389648 / [K] Detector temperature
DETPXSZ1=               0.0046 / [mm] Detector pixel size in axis 1
DETPXSZ2=               0.0046 / [mm] Detector pixel size in axis 2
DOM-HUM =                  9.2 / [%] Dome humidity
DOM-PRS =               624.20 / [hPa] Dome pressure
DOM-TMP =               277.65 / [K] Dome temperature
DOM-WND =                 3.60 / [m/s] Dome wind speed
D_AU1TY =             -0.00000 / [deg] AU1 tilt Y
D_AU1X  =                4E-07 / [mm] AU1 offset X
D_BNCTI =                12.10 / [deg C] Temperature of AO bench inside
D_BS1   = 'SCEXAO      '       / BS1 position (NIR1 NIR2 OPT)
D_HWADDC= '+12:23:45       '   / HOWFS ADC tracking declination (J2000)
D_HWLAZ = 'ABS/HBS     '       / HOWFS LA focus stage position
D_IMR   = 'TRACK       '       / IMR tracking status (TRACKING SLEWING STAND-BY)
D_IMRANG=     94.4829999923706 / [deg] IMR angle
D_IMRMOD= 'ADI         '       / IMR tracking mode (SID NON-SID ADI STOP OTHER)
D_IMRRA = '04:55:45.850    '   / IMR tracking right ascension (J2000)
D_LOOP  = 'ON      '           / RTS Loop state (ON OFF)
D_MODE  = 'NIR     '           / Guide star mode (NGS,LGS,LGSwoNGS,NGS-NGS)
D_SADCRA= '04:55:45.9      '   / SciPath ADC tracking right ascension (J2000)
D_TTGAIN=  0.00050000002374873 / RTS TT offload gain
EQUINOX =                2000. / [yr] Standard FK5
EXP-ID  = '' / ID of the exposure this data was taken
F-RATIO =     21.2999992370605 / Monochromatic F-ratio of the camera
FOC-POS = 'Nasmyth-IR  '       / Focus where instrument is attached
FOC-VAL =               -0.120 / [mm] Encoder value of the focus unit
FRAMEID = '' / Image sequential number
GAIN    =    0.103000000119209 / [e-/adu] AD conversion factor
INST-PA =         -38.89999999 / [deg] PA offset of detector
INSTRUME= 'VAMPIRES            ' / Instrument name
LONPOLE =                -34.1 / [deg] The North Pole of standard system
M2-TIP  = 'OFF     '           / Tip/Tilt of the Secondary Mirror (ON/OFF)
M2-TYPE = 'CS_IR   '           / Type of the Secondary Mirror (Opt/IR)
OBS-ALOC= 'Observation '       / Observation or Standby
OBSERVAT= 'NAOJ                ' / Observatory
OBSERVER= '"[H] O''Neil, Lozi / Vievard"                      ' / Observer
OUT-TMP =               277.95 / [K] Outside temperature
POL-ANG1=                   0. / [deg] Position angle of first polarizer
POLARIZ1= 'NONE            '   / Identifier of first polarizer
PRD-MIN1=                 1780 / [pixel] Origin in X of the cropped window
PRD-MIN2=                  884 / [pixel] Origin in Y of the cropped window
PRD-RNG1=                  536 / [pixel] Range in X of the cropped window
PRD-RNG2=                  536 / [pixel] Range in Y of the cropped window
PROP-ID = 'o25013  '           / Proposal ID
RA      = '04:55:45.534'       / RA of telescope pointing (HH:MM:SS.SSS)
RA2000  = '04:55:45.534'       / RA(J2000) pointing (HH:MM:SS.SSS)
RADESYS = 'FK5     '           / The equatorial coordinate system
RET-ANG2=                  -1. / [deg] Polarization angle of second retarder pla
RET-MOD1= 'CONTINUE        '   / First retarder plate mode
RETPLAT1= 'HWP(NIR)        '   / Identifier of first retarder plate
RETPLAT2= 'NONE            '   / Identifier of second retarder plate
TELESCOP= 'Subaru          '   / Telescope/System which Inst. is attached
TELFOCUS= 'NS_IR           '   / Focus where a beam is reachable
TIMESYS = 'UTC     '           / Time System used in the header
U_FLCTMP=          40.12345678 / [deg C] VAMPIRES FLC temperature
U_TRIGPW=                   10 / [us] VAMPIRES trigger pulse width
WCS-ORIG= 'SUBARU            ' / Origin of the WCS value
WCSNAME = '                '   / Description of coordinate system
X_GRDAMP=   0.0500000007450581 / [um] ASTROGRID amplitude
X_GRDMOD=                 500. / [Hz] ASTROGRID modulation frequency
X_PYWPKO= '800 nm SP (dflt)'   / PYWFS pickoff state
X_SRCFLX= 'NA      '           / [%] SuperK laser flux
X_SRCSEL= 'SuperK''s / SCExAO ' / internal source type
X_VPLPKO= 'Gold mirror / 50-50 splitter' / Visible photonics pickoff state
ZD      =             28.13313 / [deg] Zenith distance at typical time
"""

#: Cards of keywords that the dictionary does not have; they follow it, as the cameras' own cards do.
_UNKNOWN_CARDS = """\
X_CHAPKO= 'Gold mirror     '   / CHARIS pickoff wheel state
PICKOFF1= '800 nm SP (dflt)'   / PyWFS pickoff state
DETBIAS =                   0. / [adu] Detector bias offset
DETGAIN =                  104 / Detector multiplication factor
"""

_COMMENT_CARDS = """\
COMMENT   FITS (Flexible Image Transport System) format is defined in 'Astronomy
COMMENT   and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H
"""

#: Comments of the cards that the simulator gives values to.
_COMMENTS = {
    "DATA-TYP": "Subaru-style exp. type",
    "DATE": "file creation date (YYYY-MM-DDThh:mm:ss UT)",
    "DATE-OBS": "UT date of Observation (yyyy-mm-dd)",
    "DETECTOR": "Name of the detector",
    "EXPTIME": "[s] Total integration time of the frame",
    "EXTTRIG": "Exposure of detector by an external trigger",
    "FILTER01": "Primary filter name",
    "FILTER02": "Secondary filter name",
    "FRATE": "[Hz] Frame rate of the acquisition",
    "HST": "HH:MM:SS.SS typical HST at exposure",
    "HST-END": "HH:MM:SS.SS typical HST at exposure end",
    "HST-STR": "HH:MM:SS.SS typical HST at exposure start",
    "LST": "Typical LST during exp. (HH:MM:SS.SSS)",
    "MFRATE": "Measured frame rate (Hz)",
    "MJD": "Modified Julian Day at exposure",
    "MJD-END": "Modified Julian Day at exposure end",
    "MJD-STR": "Modified Julian Day at exposure start",
    "OBJECT": "Object",
    "OBS-MOD": "Observation mode",
    "RET-ANG1": "[deg] Polarization angle of first retarder plate",
    "UT": "HH:MM:SS.SS typical UTC at exposure",
    "UT-END": "HH:MM:SS.SS UTC at exposure end",
    "UT-STR": "HH:MM:SS.SS UTC at exposure start",
    "U_CAMERA": "VAMPIRES camera number (1 or 2)",
    "U_DETMOD": "VAMPIRES detector readout mode (Fast/Slow)",
    "U_FLC": "VAMPIRES FLC polarization state",
    "U_FLCEN": "VAMPIRES FLC enabled",
    "U_FLCST": "VAMPIRES FLC stage status (IN/OUT)",
    "U_TRIGEN": "VAMPIRES trigger enabled",
    "U_TRIGJT": "[us] VAMPIRES trigger FLC jitter half-width",
}

#: The dictionary's keywords that raw cubes lack: the first two lie with the pixels and are written
#: with them, the third is the ledger's own (docs/design.md, Headers and cubes).
_NOT_IN_RAW = ("BSCALE", "BZERO", "U_SYNC")

#: Further coordinate systems, alike but for this letter (FITS 4.0 sec. 8.2.1), one for each field of an image.
_OTHER_COORDINATES = "BCD"

_STATES = ("OUT", "IN", "OFF", "ON", "Open", "NA")


def header_text(values: Mapping[str, Value]) -> str:
    """Return a raw header's cards as one text, without structural cards and without END.

    Keywords of the dictionary come in its order, which is alphabetical, then the cameras' own cards
    and ``DATE``, as in headers of the logger.

    Parameters
    ----------
    values : mapping of str to str, int, float or bool
        Cards that the simulator decides; each must be of a keyword that raw headers have.

    Returns
    -------
    str
        Cards of 80 characters each, about 390.

    Raises
    ------
    ValueError
        If a value is for a keyword that no card is written of.
    """
    constant = _constant_cards()
    strangers = values.keys() - constant.keys() - {"DATE"}
    if strangers:
        raise ValueError(f"a raw header has no card of {sorted(strangers)}; name keywords of the dictionary")
    cards = {**constant, **{keyword: _card(keyword, value) for keyword, value in values.items()}}
    return "".join((*_cards(_COMMENT_CARDS), *cards.values()))


def time_cards(first_us: int, last_us: int) -> dict[str, Value]:
    """Return the time cards of a raw cube, cut to hundredths of a second as the logger has them.

    Parameters
    ----------
    first_us, last_us : int
        First and last acquisition time, UNIX, microseconds.

    Returns
    -------
    dict of str to str or float
        ``DATE``, ``DATE-OBS``, ``LST`` and start, end and middle as ``UT``, ``HST`` and ``MJD``.
    """
    cards: dict[str, Value] = {}
    middle_us = (first_us + last_us) // 2
    for suffix, time_us in (("-STR", first_us), ("-END", last_us), ("", middle_us)):
        moment = EPOCH + time_us * MICROSECOND
        cards[f"UT{suffix}"] = f"{moment:%H:%M:%S.%f}"[:11]
        cards[f"HST{suffix}"] = f"{moment + HST:%H:%M:%S.%f}"[:11]
        cards[f"MJD{suffix}"] = _mjd(time_us)
    cards["LST"] = _sidereal(middle_us)
    cards["DATE-OBS"] = f"{EPOCH + first_us * MICROSECOND:%Y-%m-%d}"
    cards["DATE"] = f"{EPOCH + last_us * MICROSECOND:%Y-%m-%dT%H:%M:%S}"
    return cards


def _mjd(time_us: int) -> float:
    """Return the Modified Julian Day of a UNIX time."""
    return time_us / _DAY_US + _MJD_OF_EPOCH


def _sidereal(time_us: int) -> str:
    """Return local mean sidereal time at Mauna Kea, to a second or so (Meeus 1998, eq. 12.4)."""
    turned_deg = 280.46061837 + 360.98564736629 * (_mjd(time_us) - 51544.5) + _MAUNA_KEA_DEG
    return f"{EPOCH + timedelta(days=turned_deg % 360 / 360):%H:%M:%S.%f}"[:12]


@functools.cache
def _constant_cards() -> Mapping[str, str]:
    """Return the card of every keyword in order, with invented values where none are listed above."""
    listed = {card[:8].rstrip(): card for card in _cards(_CONSTANT_CARDS)}
    cards = {}
    for keyword, layout in _dictionary().items():
        if keyword in listed:
            cards[keyword] = listed[keyword]
        elif keyword[-1] in _OTHER_COORDINATES and keyword[:-1] in listed:
            cards[keyword] = f"{keyword:<8}{listed[keyword[:-1]][8:]}"
        elif keyword not in _NOT_IN_RAW:
            cards[keyword] = _card(keyword, _invented(keyword, layout))
    return {**cards, **{card[:8].rstrip(): card for card in _cards(_UNKNOWN_CARDS)}}


def _dictionary() -> Mapping[str, str]:
    """Return the printf format of every keyword of the instrument's dictionary."""
    table = (resources.files("stages") / "fits/dictionary/vampires.tsv").read_text("ascii")
    return {row.split("\t")[0]: row.split("\t")[1] for row in table.splitlines()[1:]}


def _cards(text: str) -> tuple[str, ...]:
    """Return the lines of `text`, padded to 80 characters (FITS 4.0 sec. 4.1)."""
    return tuple(line.ljust(80) for line in text.splitlines())


def _invented(keyword: str, layout: str) -> Value:
    """Return a value that suits a keyword's printf format and never changes."""
    number = zlib.crc32(keyword.encode())
    if layout == "BOOLEAN":
        return number % 2 == 0
    if layout.endswith("s"):
        return layout % _STATES[number % len(_STATES)]
    if layout.endswith("d"):
        return number % 1000
    return number / 2**32 * 200 - 100


def _card(keyword: str, value: Value) -> str:
    """Return a card as the logger's printf writes it: its comment is cut at column 80."""
    comment = _COMMENTS.get(keyword, "telemetry")
    return f"{keyword:<8}= {_value_field(value):>20} / {comment}"[:80].ljust(80)


def _value_field(value: Value) -> str:
    """Return a value in FITS syntax (FITS 4.0 sec. 4.2), numbers with as many digits as C's ``%.15G``."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        return f"'{quoted:<8}'".ljust(20)
    if isinstance(value, int):
        return str(value)
    digits, _, exponent = f"{value:.15G}".partition("E")
    point = "" if "." in digits else "."
    return f"{digits}{point}E{exponent}" if exponent else f"{digits}{point}"
