"""Unpack what came from elsewhere: a name is checked before anything is written under it.

Refused are links, devices and encrypted files, absolute paths, `..`, names that would overwrite one
another (on any file system: case and Unicode composition aside), and more than the limits below.
"""

import gzip
import os
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from maclcore.data.reading import ArchiveError, printable

MAX_MEMBERS = 200_000  # the largest archive of the paper has 9,880
MAX_BYTES = 2**35  # 32 GiB
MAX_RATIO = 200  # unpacked to packed: images stay below 2, a table of 0 and 1 below 40
CHUNK = 2**20
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".rar", ".7z")
TABLES = (".txt", ".csv", ".xlsx")
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a link"}
TAR_KINDS = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a link"}
SPECIAL = "a device or the like"
BY_HAND = "if you trust it, unpack it by hand and give the folder"


class Member(NamedTuple):
    """One entry: `kind` is file, folder, or what makes it be refused."""

    source: Path
    name: str
    kind: str
    size: int
    open: Callable[[], BinaryIO]

    def refused(self, why: str) -> ArchiveError:
        return ArchiveError(printable(f"{self.source.name}: {self.name[:200]}: {why}"))


def extract(sources: Sequence[Path], target: Path) -> None:
    """Put into the new folder `target` what is in `sources`, each checked member by member.

    A source is a zip or tar.gz file, a table (copied), or a folder: what is packed on its first
    level is unpacked, the rest is copied. Only names and contents are taken over, no permissions.

    Raises ArchiveError with file, member and remedy; whatever is raised, `target` is gone then.
    """
    target.mkdir(parents=True)  # must be new, so that there is nothing in it but what is put there
    claims: dict[tuple[str, ...], tuple] = {}
    room = MAX_BYTES
    try:
        for member in (member for source in sources for member in _members(source)):
            parts = _parts(member)
            _claim(claims, parts, member)
            room -= member.size
            if len(claims) > MAX_MEMBERS or room < 0:
                limits = f"more than {MAX_MEMBERS:,} members or {MAX_BYTES:,} bytes"
                raise member.refused(f"{limits}: {BY_HAND}")
            path = target.joinpath(*parts)
            (path if member.kind == "folder" else path.parent).mkdir(parents=True, exist_ok=True)
            if member.kind == "file":
                with open(path, "xb") as out:
                    out.writelines(_chunks(member))
    except BaseException:
        shutil.rmtree(target)
        raise


def packing(file: Path) -> str | None:
    """zip or tar.gz, by its first bytes; None for a table; ArchiveError with a hint for others."""
    if file.suffix.lower() in TABLES:  # a workbook, too, is a zip file
        return None
    with open(file, "rb") as stream:
        head = stream.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "tar.gz"
    if head.startswith((b"Rar!", b"7z\xbc\xaf")):
        why = f"RAR and 7z are not unpacked here: run `7z x {file.name}` and give the folder"
    elif b"<html" in head.lower() or b"<!doctype" in head.lower():
        why = "a web page, no archive: download it in a browser"
    else:
        why = f"{'neither zip nor tar.gz' if head else 'an empty file'}: download it again"
    raise ArchiveError(f"{file.name}: {why}")


# --- What is inside ------------------------------------------------------------------------------


def _members(source: Path) -> Iterator[Member]:
    if not source.is_dir():
        yield from _unpacked(source)
        return
    for path in sorted(source.rglob("*")):
        if path.parent == source and path.name.lower().endswith(SUFFIXES):
            yield from _unpacked(path)
        else:
            status = path.lstat()
            kind = KINDS.get(stat.S_IFMT(status.st_mode), SPECIAL)
            name, size = path.relative_to(source).as_posix(), status.st_size
            yield Member(source, name, kind, size * (kind == "file"), partial(open, path, "rb"))


def _unpacked(file: Path) -> Iterator[Member]:
    kind, size, total = packing(file), file.stat().st_size, 0
    if kind is None:
        yield Member(file, file.name, "file", size, partial(open, file, "rb"))
        return
    with _damage(file):
        for member in _zipped(file) if kind == "zip" else _tarred(file):
            total += member.size
            # a negative size would send tarfile back to where it has been
            if member.size < 0 or total > MAX_RATIO * size:
                bomb = f"{total:,} bytes from a file of {size:,}, a decompression bomb?"
                raise member.refused(f"{bomb} {BY_HAND.capitalize()}")
            yield member


def _zipped(file: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as pack:
        for info in pack.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16) or stat.S_IFREG  # not every system has one
            kind = KINDS.get(mode, SPECIAL)
            if kind in ("file", "folder"):
                kind = "folder" if info.is_dir() else "file"
            kind = "encrypted" if info.flag_bits & 1 else kind
            # zipfile cuts a name at its first NUL; the whole of it is to be judged
            name = info.orig_filename if "\0" in info.orig_filename else info.filename
            yield Member(file, name, kind, info.file_size, partial(pack.open, info))


def _tarred(file: Path) -> Iterator[Member]:
    with _Gunzip(file) as stream, tarfile.open(fileobj=stream, mode="r:") as pack:
        while info := pack.next():
            plain = info.isreg() and not info.issparse()
            kind = "file" if plain else TAR_KINDS.get(info.type, SPECIAL)
            stream.left = MAX_BYTES  # contents are read in pieces
            yield Member(file, info.name, kind, info.size, partial(pack.extractfile, info))
            stream.left = CHUNK


class _Gunzip(gzip.GzipFile):
    """A tar header may claim any length, and tarfile would read that much into memory, at once or
    piece by piece."""

    left = CHUNK  #: what the headers of one member may take together

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"a header of more than {CHUNK:,} bytes")
        self.left -= size
        return super().read(size)


def _chunks(member: Member) -> Iterator[bytes]:
    left = member.size
    with _damage(member.source), member.open() as stream:
        while chunk := stream.read(CHUNK):
            left -= len(chunk)
            yield chunk
        if left:
            raise EOFError(f"{member.name} has not the size that is said")


@contextmanager
def _damage(source: Path) -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        text = f"{source.name}: damaged or cut short ({error}): download it again"
        raise ArchiveError(printable(text)) from error


# --- Judging -------------------------------------------------------------------------------------


def _parts(member: Member) -> tuple[str, ...]:
    """The member's path below the target; ArchiveError if it must not be written."""
    name, parts = member.name, tuple(p for p in member.name.split("/") if p not in ("", "."))
    if member.kind not in ("file", "folder"):
        raise member.refused(f"{member.kind}: only plain files and folders are taken")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise member.refused("an absolute path")
    if ".." in parts:
        raise member.refused("a path with ..")
    if re.search(r"[\x00-\x1f\x7f\\]", name) or (member.kind == "file" and not parts):
        raise member.refused("a name with control characters or backslashes, or none")
    encoded = [os.fsencode(part) for part in parts]
    if max(map(len, encoded), default=0) > 255 or sum(map(len, encoded)) > 1024:
        raise member.refused("a name too long")
    return parts


def _claim(claims: dict[tuple[str, ...], tuple], parts: tuple[str, ...], member: Member) -> None:
    """Note the path and the folders it needs; ArchiveError if one has been claimed otherwise."""
    folded = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
    for depth in range(1, len(parts) + 1):
        claim = (parts[:depth], member.kind if depth == len(parts) else "folder")
        first = claims.setdefault(folded[:depth], claim)
        if first != claim or (claim[1] == "file" and first is not claim):
            raise member.refused(f"the same place, case aside, as {'/'.join(first[0])}")
