"""Parse the texts in a release's tables: numbers, flags, or missing values.

Laboratories write their tables with pandas, which can write the same value in several ways.
"""

from __future__ import annotations

import re

#: The texts that pandas reads as a missing value (`pandas.read_csv`, ``na_values``).
MISSING = frozenset(
    [
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.A | re.I)
_FLAGS = {"true": True, "false": False}
#: User and password in an address. The ETag in ``corpus://<corpus>@<etag>/`` must not match.
_CREDENTIALS = re.compile(r"(?<!corpus:)(?<=:)//\S*@")


def redacted(text: str) -> str:
    """Replace the user and password of every address in a text by ``***``."""
    return _CREDENTIALS.sub("//***@", text)


def shown(text: str) -> str:
    """Make a text safe to print: control characters are escaped, passwords are hidden.

    Messages quote names from a release, and these may hold any character. Line ends are kept.
    """
    plain = "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text
    )
    return redacted(plain)


def is_text(name: str | bytes) -> bool:
    """Whether a name is valid Unicode text.

    h5py returns names that are not UTF-8 as bytes; JSON may hold half of a surrogate pair.
    """
    return isinstance(name, str) and not re.search("[\ud800-\udfff]", name)


def is_missing(text: str | None) -> bool:
    """Whether a text stands for a missing value; surrounding spaces are ignored."""
    return text is None or text.strip() in MISSING


def number(text: str | None) -> float | None:
    """Parse a number; None for a missing value.

    Raises
    ------
    ValueError
        If the text is not a plain decimal number. Python's ``float`` also accepts ``1_0`` and
        digits of other scripts, which no table of a release uses.
    """
    if text is None or (plain := text.strip()) in MISSING:
        return None
    if not _NUMBER.fullmatch(plain):
        raise ValueError(f"{text!r} is no number")
    return float(plain)


def flag(text: str | None) -> bool | None:
    """Parse a flag; None for a missing value.

    Flags are written ``True``, ``true``, ``TRUE`` or as a number, ``1``, ``1.0``: pandas writes
    a column of flags that has missing values as floats.

    Raises
    ------
    ValueError
        If the text is something else.
    """
    if text is None or (plain := text.strip()) in MISSING:
        return None
    if (found := _FLAGS.get(plain.lower())) is not None:
        return found
    if _NUMBER.fullmatch(plain) and float(plain) in (0, 1):
        return bool(float(plain))
    raise ValueError(f"{text!r} is no flag")
