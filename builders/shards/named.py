"""The files of cached shards: their names, and whether a file matches its name.

A shard is called ``<shard>.<ETag>.<checksum>.parquet``, or with ``.<form>.arrow`` at the
end. Only a complete shard has such a name. Its notes are in ``<shard>.<ETag>.notes``.
"""

from __future__ import annotations

from pathlib import Path

from builders.files import FINGERPRINT, digest
from builders.shards.writer import Form

#: Digits of the checksum in a shard's name.
CHECKSUM_DIGITS = 32

#: Shards whose checksum this process has verified: inode, size and modification time of each.
_CHECKED: dict[Path, tuple[int, int, int]] = {}


def notes_file(place: Path, etag: str) -> Path:
    """The file of the notes on a shard; `place` is the shard's path without ETag and checksum."""
    return place.with_suffix(f".{etag}.notes")


def etag_of(file: Path) -> str:
    """The ETag in the file name of a cached shard."""
    return _name_parts(file)[0]


def is_beside(file: Path, shard: Path) -> bool:
    """Whether a file has the same rows as a shard: as Parquet, or in another form."""
    etag, checksum = _name_parts(shard)
    kind = file.name.partition(f".{etag}.")[2].partition(".")[2]
    other = shard.name.partition(f".{checksum}.")[2]
    return kind != other and kind.endswith(("parquet", "arrow"))


def _name_parts(file: Path) -> tuple[str, str]:
    """ETag and checksum in the file name of a cached shard."""
    _, etag, checksum, *_ = file.name.split(".")
    return etag, checksum


def suffix(form: Form | None) -> str:
    """The end of a shard's name; Parquet has no form."""
    return f".{form.name}.arrow" if form else ".parquet"


def named(partial: Path, checksum: str, form: Form | None) -> Path:
    """Give a shard that is complete its name."""
    final = partial.replace(partial.with_suffix(f".{checksum}{suffix(form)}"))
    _CHECKED[final] = _state(final)
    return final


def checksum_of(file: Path, is_arrow: bool) -> str:
    """The checksum in a shard's name: a faster one for Arrow, which is some thirty times larger."""
    return digest(file, FINGERPRINT if is_arrow else "sha256")[:CHECKSUM_DIGITS]


def is_sound(file: Path) -> bool:
    """Whether a shard matches the checksum in its name; read again only if the file has changed.

    A full or failing disk, a loss of power, or another program can change the file after it was
    written.
    """
    try:
        seen = _state(file)
        if _CHECKED.get(file) != seen:
            if checksum_of(file, file.suffix == ".arrow") != _name_parts(file)[1]:
                return False
            _CHECKED[file] = seen
    except OSError:  # deleted just now, or no longer readable
        return False
    return True


def _state(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
