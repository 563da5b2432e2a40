"""What the texts in a table of the release stand for: numbers, flags, or that there is no value.

Laboratories write their tables with pandas, which spells one thing in many ways.
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
#: The user and the password in an address. The ETag in ``corpus://<corpus>@<etag>/`` is neither.
_CREDENTIALS = re.compile(r"(?<!corpus:)(?<=:)//\S*@")


def redacted(text: str) -> str:
    """A text whose addresses have no user and no password in them."""
    return _CREDENTIALS.sub("//***@", text)


def shown(text: str) -> str:
    """A text that is fit for a message: what a terminal would obey is escaped, secrets are hidden.

    Names in a release may hold anything, and a message quotes them. Lines stay lines.
    """
    plain = "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text
    )
    return redacted(plain)


def is_text(name: str | bytes) -> bool:
    """Whether a name is UTF-8: h5py gives others as bytes, JSON may hold half a character."""
    return isinstance(name, str) and not re.search("[\ud800-\udfff]", name)


def is_missing(text: str | None) -> bool:
    """Whether a text says that there is no value; spaces around it do not count."""
    return text is None or text.strip() in MISSING


def number(text: str | None) -> float | None:
    """The number that a text stands for; None if it says that there is none.

    Raises
    ------
    ValueError
        If it is anything but a plain decimal number. Python's own ``float`` takes ``1_0`` and
        digits of other scripts, too, which no table of a release means.
    """
    if text is None or (plain := text.strip()) in MISSING:
        return None
    if not _NUMBER.fullmatch(plain):
        raise ValueError(f"{text!r} is no number")
    return float(plain)


def flag(text: str | None) -> bool | None:
    """The flag that a text stands for; None if it says that there is none.

    Flags are spelled ``True``, ``true``, ``TRUE`` or as a number, ``1``, ``1.0``: pandas writes
    a column of flags that has gaps as floats.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if text is None or (plain := text.strip()) in MISSING:
        return None
    if (found := _FLAGS.get(plain.lower())) is not None:
        return found
    if _NUMBER.fullmatch(plain) and float(plain) in (0, 1):
        return bool(float(plain))
    raise ValueError(f"{text!r} is no flag")
