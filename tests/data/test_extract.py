"""Whatever a packed file holds: taken whole or refused, and nothing outside.

Ten thousand archives of each kind against the extractor, instead of fifty:
MACL_EXAMPLES=10000 python -m pytest tests/data/test_extract.py -k whatever --timeout 0
"""

import gzip
import os
import posixpath
import re
import stat
import string
import tarfile
import tempfile
import tracemalloc
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from packing import TYPES, tarred, zipped

from maclcore.data import ArchiveError, extract

EXAMPLES = int(os.environ.get("MACL_EXAMPLES", 50))


SIGNS = ("a", "A", "b.png", "é", "e\u0301", "ß", "SS", "Images", "images", "日本")
TRICKS = ("..", ".", "", "C:", "x" * 256, "a\\b", "a\0b", "\x1b[2J", "~", "...", " ", "\u202e")


def mostly(common, rare):
    """So rarely that about half of all archives are harmless."""
    return st.integers(0, 29).flatmap(lambda k: common if k else rare)


parts = mostly(st.sampled_from(SIGNS), st.sampled_from(TRICKS) | st.text(max_size=8))
starts = mostly(st.just(""), st.sampled_from(("/", "../", "/../", "//", "./")))
names = st.builds(str.__add__, starts, st.lists(parts, min_size=1, max_size=3).map("/".join))
contents = mostly(st.binary(max_size=40), st.just(bytes(2**18)))  # a small bomb
kinds = mostly(st.sampled_from(("file", "file", "file", "folder")), st.sampled_from(list(TYPES)))
members = st.lists(st.tuples(names, kinds, contents), max_size=6)


def harmless(members, packed_size):
    """{path: content} that should appear, or None; judged in another way than the package does."""
    if sum(len(content) for _, _, content in members) > 200 * packed_size:
        return None
    files, folders = [], set()
    for name, kind, content in members:
        path = posixpath.normpath(name)
        evil = [part == ".." or len(part.encode()) > 255 for part in name.split("/")]
        evil += [c == "\\" or ord(c) < 32 or ord(c) == 127 for c in name]
        evil += [name.startswith("/"), name[1:2] == ":" and name[0] in string.ascii_letters]
        if any(evil) or kind not in ("file", "folder") or (kind == "file" and path == "."):
            return None
        files += [(path, content)] if kind == "file" else []
        folders |= {str(parent) for parent in Path(path, "x" * (kind == "folder")).parents}
    everything = [path for path, _ in files] + list(folders)
    folded = {unicodedata.normalize("NFC", path).casefold() for path in everything}
    return dict(files) if len(folded) == len(everything) else None


def snapshot(folder):
    """Everything in it, links not followed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def unpack(build, judge=None):
    """Build a file in a sandbox and extract it: (what appeared, or the error); check the rest."""
    with tempfile.TemporaryDirectory() as name:
        sandbox = Path(name)
        (sandbox / "canary").write_text("sings")
        (sandbox / "in").mkdir()
        packed = sandbox / "in" / "packed.zip"
        build(packed)
        before, target = snapshot(sandbox), sandbox / "in" / "target"
        try:
            extract.extract([packed], target)
        except ArchiveError as error:
            assert str(error).startswith("packed.zip: ") and str(error).isprintable()
            assert snapshot(sandbox) == before
            return error, packed.stat().st_size
        after = snapshot(sandbox)
        inside = {path: what for path, what in after.items() if path.startswith("in/target")}
        assert {path: what for path, what in after.items() if path not in inside} == before
        assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode, _ in inside.values())
        assert not any(stat.S_ISREG(mode) and mode & 0o7111 for mode, _ in inside.values())
        files = {p[10:]: content for p, (m, content) in inside.items() if stat.S_ISREG(m)}
        return files, packed.stat().st_size


@settings(max_examples=EXAMPLES, deadline=None)
@given(members)
def test_whatever_a_zip_holds_nothing_is_written_outside_and_nothing_is_left_of_a_refusal(members):
    found, size = unpack(partial(zipped, members=members))
    # a final slash is what makes a folder in a zip file
    written = [(name + "/" * (kind == "folder"), kind, content) for name, kind, content in members]
    written = [(n, "folder" if n[-1:] == "/" and k == "file" else k, c) for n, k, c in written]
    expected = harmless(written, size)
    event("refused" if expected is None else "taken")
    assert found == expected if expected is not None else isinstance(found, ArchiveError)


@settings(max_examples=EXAMPLES, deadline=None)
@given(members, st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))
def test_whatever_a_tar_holds_nothing_is_written_outside_and_nothing_is_left_of_a_refusal(
    members, form
):
    # tar cuts a name at NUL when it is written, and folders of all their final slashes when read
    members = [(name.replace("\0", "\1"), kind, content) for name, kind, content in members]
    members = [(name, kind, content * (kind == "file")) for name, kind, content in members]
    found, size = unpack(partial(tarred, members=members, form=form))
    read = [(n.rstrip("/") if k == "folder" else n, k, c) for n, k, c in members]
    expected = harmless(read, size)
    event("refused" if expected is None else "taken")
    assert found == expected if expected is not None else isinstance(found, ArchiveError)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from((zipped, tarred)),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 2000),
    st.randoms(use_true_random=False),
)
def test_whatever_has_happened_to_a_file_it_is_taken_whole_or_refused(pack, flips, cut, random):
    members = [(f"Images/{i}.png", "file", random.randbytes(100)) for i in range(4)]

    def build(file):
        pack(file, members)
        raw = bytearray(file.read_bytes())
        if pack is tarred:  # damage what is inside, not only gzip's own checks
            raw = bytearray(gzip.decompress(raw)[: 10240 if cut > 1000 else 5 * cut])
        for at, value in flips if raw else ():
            raw[at * len(raw) // 2001] = value
        raw = raw[: len(raw) * (1 + cut) // 2001] if cut > 1000 else raw
        file.write_bytes(gzip.compress(raw) if pack is tarred else raw or b"PK\5\6")

    found, _ = unpack(build)
    event("refused" if isinstance(found, ArchiveError) else "taken")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("/etc/x", "file", b""), "/etc/x: an absolute path"),
        (("C:/x", "file", b""), "C:/x: an absolute path"),
        (("a/../../x", "file", b""), "a/../../x: a path with .."),
        (("a\\b", "file", b""), "a\\b: a name with control characters or backslashes"),
        (("\x1b[2J", "file", b""), r"\x1b[2J: a name with control characters"),
        (("x" * 256, "file", b""), "a name too long"),
        (("a", "link", b"/etc"), "a: a link: only plain files and folders are taken"),
        (("a", "hard link", b""), "a: a link: only"),
        (("a", "device", b""), "a: a device or the like: only"),
        (("a", "pipe", b""), "a: a device or the like: only"),
        (("Images/B", "file", b""), "Images/B: the same place, case aside, as images"),
        (("images/b", "file", b""), "images/b: the same place, case aside, as images/b"),
        (("images/b/c", "file", b""), "images/b/c: the same place, case aside, as images/b"),
        (("images", "file", b""), "images: the same place, case aside, as images"),
        (("e\u0301", "file", b""), "the same place, case aside, as é"),
        (("bomb", "file", bytes(2**19)), "bytes from a file of"),
    ],
)
def test_every_refusal_names_file_member_and_reason(member, message):
    harmless = [("images/b", "file", b"1"), ("é", "file", b"2")]
    for pack in (zipped, tarred):
        error, _ = unpack(partial(pack, members=[*harmless, member]))
        assert message in str(error)


def test_limits(monkeypatch):
    three = [(f"{i}", "file", b"1234") for i in range(3)]
    monkeypatch.setattr(extract, "MAX_MEMBERS", 2)
    assert "2: more than 2 members or" in str(unpack(partial(zipped, members=three))[0])
    monkeypatch.setattr(extract, "MAX_MEMBERS", 3)
    assert len(unpack(partial(zipped, members=three))[0]) == 3
    monkeypatch.setattr(extract, "MAX_BYTES", 11)
    message = str(unpack(partial(tarred, members=three))[0])
    assert "or 11 bytes: if you trust it, unpack it by hand and give the folder" in message


def test_encrypted_members_are_refused():
    def build(file):
        zipped(file, [("a", "file", b"1")])
        raw = bytearray(file.read_bytes())
        raw[raw.index(b"PK\1\2") + 8] |= 1
        file.write_bytes(raw)

    assert "a: encrypted: only plain files" in str(unpack(build)[0])


@pytest.mark.parametrize(
    ("size", "kind", "message"),
    [
        (-(2**30), tarfile.REGTYPE, "bomb|invalid offset"),  # the latter is Python's own, if new
        (2**40, tarfile.REGTYPE, "bomb"),
        (2**33, tarfile.XHDTYPE, "a header of more than"),
        (2**25, tarfile.GNUTYPE_LONGNAME, "a header of more than"),
        (-512, tarfile.XHDTYPE, "a header of more than|invalid offset"),
    ],
)
def test_a_tar_header_that_lies_about_its_size_costs_nothing(size, kind, message):
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    packed = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**25), compresslevel=1)
    tracemalloc.start()
    try:
        error, _ = unpack(lambda file: file.write_bytes(packed))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert re.search(message, str(error))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"Rar!\x1a\x07\x00", "RAR and 7z are not unpacked here: run `7z x given.zip` and give"),
        (b"7z\xbc\xaf\x27\x1c", "RAR and 7z are not unpacked here"),
        (b"<!DOCTYPE html><html>", "a web page, no archive: download it in a browser"),
        (b"", "an empty file: download it again"),
        (b"anything", "neither zip nor tar.gz: download it again"),
        (b"PK\x03\x04cut", "damaged or cut short (File is not a zip file): download it again"),
        (b"\x1f\x8bcut", "damaged or cut short"),
    ],
)
def test_what_is_no_archive_is_told_with_what_to_do(tmp_path, head, message):
    (tmp_path / "given.zip").write_bytes(head)
    with pytest.raises(ArchiveError, match=re.escape(f"given.zip: {message}")):
        extract.extract([tmp_path / "given.zip"], tmp_path / "target")
    assert os.listdir(tmp_path) == ["given.zip"]


def test_files_tables_and_folders_together(tmp_path):
    zipped(tmp_path / "a.zip", [("Images/a.png", "file", b"a")])
    tarred(tmp_path / "b.tgz", [("./Images/b.png", "file", b"b"), ("empty", "folder", b"")])
    (tmp_path / "labels.csv").write_text("t")
    (tmp_path / "more" / "Images").mkdir(parents=True)
    (tmp_path / "more" / "Images" / "c.png").write_text("c")
    zipped(tmp_path / "more" / "d.zip", [("Images/d.png", "file", b"d")])
    sources = [tmp_path / name for name in ("a.zip", "b.tgz", "labels.csv", "more")]
    extract.extract(sources, tmp_path / "target")
    files = {k: c.decode() for k, (m, c) in snapshot(tmp_path / "target").items() if c is not False}
    assert files == {f"Images/{k}.png": k for k in "abcd"} | {"labels.csv": "t"}
    assert (tmp_path / "target" / "empty").is_dir()
    (tmp_path / "more" / "out").symlink_to("/etc")
    with pytest.raises(ArchiveError, match="more: out: a link"):
        extract.extract(sources, tmp_path / "other")
    with pytest.raises(FileExistsError):
        extract.extract(sources, tmp_path / "target")
