"""Archives fetched, unpacked and checked, whatever server, file and disk do.

Ten thousand archives of each kind against the extractor, instead of fifty:
MACL_EXAMPLES=10000 python -m pytest tests/test_prepare.py -k whatever --timeout 0
"""

import errno
import gzip
import io
import json
import os
import posixpath
import re
import stat
import string
import tarfile
import tempfile
import threading
import tracemalloc
import unicodedata
import warnings
import zipfile
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from maclcore import paths
from maclcore.__main__ import main
from maclcore.data import ArchiveError, extract, load_archive, prepare, read_labels
from maclcore.data.readers import COLOURS, READERS

EXAMPLES = int(os.environ.get("MACL_EXAMPLES", 50))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "data"))


# --- Packed files, harmless and not --------------------------------------------------------------

SIGNS = ("a", "A", "b.png", "é", "e\u0301", "ß", "SS", "Images", "images", "日本")
TRICKS = ("..", ".", "", "C:", "x" * 256, "a\\b", "a\0b", "\x1b[2J", "~", "...", " ", "\u202e")
TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "pipe": tarfile.FIFOTYPE,
}
MODES = {"link": stat.S_IFLNK, "hard link": stat.S_IFLNK, "device": stat.S_IFCHR}
MODES |= {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "pipe": stat.S_IFIFO}


def mostly(common, rare):
    """So rarely that about half of all archives are harmless."""
    return st.integers(0, 29).flatmap(lambda k: common if k else rare)


parts = mostly(st.sampled_from(SIGNS), st.sampled_from(TRICKS) | st.text(max_size=8))
starts = mostly(st.just(""), st.sampled_from(("/", "../", "/../", "//", "./")))
names = st.builds(str.__add__, starts, st.lists(parts, min_size=1, max_size=3).map("/".join))
contents = mostly(st.binary(max_size=40), st.just(bytes(2**18)))  # a small bomb
kinds = mostly(st.sampled_from(("file", "file", "file", "folder")), st.sampled_from(list(TYPES)))
members = st.lists(st.tuples(names, kinds, contents), max_size=6)


def zipped(file, members):
    with zipfile.ZipFile(file, "w") as pack, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for name, kind, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name + "/" * (kind == "folder")
            info.external_attr = (MODES[kind] | 0o6777) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            pack.writestr(info, content)


def tarred(file, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(file, "w:gz", format=form, compresslevel=1) as pack:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = TYPES[kind], 0o6777
            info.linkname = "../canary" * kind.endswith("link")
            info.size = len(content) * (kind == "file")
            pack.addfile(info, io.BytesIO(content))


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


# --- A server that does what servers do ----------------------------------------------------------

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(300_000)
HASH = f"sha256:{sha256(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        script = self.server.script[self.path.rsplit("/", 1)[-1]]
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, headers=(), sent=None):
        self.send_response(status)
        for key, value in {"Content-Length": len(body), **dict(headers)}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()


def ranged(handler, content=CONTENT, sent=None):
    """A server that knows ranges; with `sent` it hangs up after so many bytes of its answer."""
    if not (asked := handler.headers.get("Range")):
        return handler.answer(content, sent=sent)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        return handler.answer(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    handler.answer(content[start:], 206, span, sent)


def whole(handler, content=CONTENT):
    handler.answer(content)


def stalling(handler):
    handler.answer(CONTENT, sent=200_000)
    handler.server.released.wait(30)


def lying(handler):
    """Answers any range with the beginning."""
    span = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
    handler.answer(CONTENT, 206 if handler.headers.get("Range") else 200, span)


def moved(handler, to):
    handler.answer(b"", 302, {"Location": to})


def missing(handler):
    handler.answer(b"gone", 404)


def login(handler):
    handler.answer(b"<!DOCTYPE html><html>log in</html>")


WRONG = partial(ranged, content=b"PK\x03\x04" + bytes(300_000))
CUT = partial(ranged, sent=100_000)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.script, server.released = [], {}, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    def fetch(*script, known=HASH):
        server.script["a.zip"] = list(script)
        return prepare._fetch("a.zip", f"{server.url}/a.zip", known, tmp_path / "got", False)

    return fetch


def ranges(server):
    return [asked for _, asked in server.requests]


def test_a_file_is_fetched_once(fetch, server):
    assert fetch(ranged).read_bytes() == CONTENT
    assert fetch(missing).read_bytes() == CONTENT
    assert ranges(server) == [None]
    assert os.listdir(fetch(missing).parent) == ["a.zip"]


def test_a_truncated_answer_is_continued_where_it_stopped(fetch, server):
    assert fetch(CUT, CUT, CUT, ranged).read_bytes() == CONTENT
    first, *others = ranges(server)
    starts = [int(asked[6:-1]) for asked in others]
    assert first is None and starts == sorted(starts) and 150_000 < starts[-1] <= 300_000


def test_a_stalled_answer_is_given_up_and_continued(fetch, server, monkeypatch):
    monkeypatch.setattr(prepare, "TIMEOUT", (30, 1))
    assert fetch(stalling, ranged).read_bytes() == CONTENT
    assert ranges(server)[0] is None and 100_000 < int(ranges(server)[1][6:-1]) <= 200_000


def test_what_an_earlier_process_left_is_continued(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "ATTEMPTS", 1)
    with pytest.raises(OSError, match="."):
        fetch(CUT)
    (part,) = (tmp_path / "got").iterdir()
    assert CONTENT.startswith(part.read_bytes()) and part.stat().st_size > 50_000
    assert fetch(ranged).read_bytes() == CONTENT
    part.write_bytes(CONTENT)  # killed between the last byte and the new name
    (tmp_path / "got" / "a.zip").unlink()
    assert fetch(ranged).read_bytes() == CONTENT
    assert ranges(server)[-1] == f"bytes={len(CONTENT)}-"


@pytest.mark.parametrize("second", [whole, lying])
def test_a_server_without_ranges_starts_over(fetch, second):
    assert fetch(CUT, second).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_by_their_hash_and_not_kept(fetch, tmp_path):
    with pytest.raises(ValueError, match="SHA256 hash of downloaded file"):
        fetch(WRONG)
    assert not list((tmp_path / "got").iterdir())
    assert fetch(ranged).read_bytes() == CONTENT


def test_a_wrong_beginning_does_not_spoil_what_follows(fetch, server):
    assert fetch(partial(WRONG, sent=100_000), ranged).read_bytes() == CONTENT
    first, second, third = ranges(server)
    assert second and first is third is None  # continued, found to be wrong, fetched anew


def test_redirects_are_followed(fetch, server):
    server.script["b"] = [ranged]
    assert fetch(partial(moved, to=f"{server.url}/elsewhere/b")).read_bytes() == CONTENT
    fetch(missing).unlink()
    with pytest.raises(OSError, match="30 redirects"):
        fetch(partial(moved, to=f"{server.url}/a.zip"))


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    server.script["a.zip"] = [ranged]
    url = "http://archive.invalid/a.zip"
    assert prepare._fetch("a.zip", url, HASH, tmp_path, False).read_bytes() == CONTENT
    assert server.requests == [(url, None)]


def test_an_answer_without_end_is_cut_off(fetch, monkeypatch):
    monkeypatch.setattr(prepare, "MAX_BYTES", 200_000)
    with pytest.raises(ValueError, match="more than 200,000 bytes"):
        fetch(whole)


def test_a_web_page_is_not_taken_for_an_archive_without_known_hash(fetch, tmp_path):
    with pytest.raises(ArchiveError, match="a web page, no archive"):
        fetch(login, known=None)
    assert not list((tmp_path / "got").iterdir())


def sourced(monkeypatch, name, files):
    monkeypatch.setitem(READERS, name, READERS[name]._replace(files=files))


def test_the_next_mirror_is_asked_when_one_fails(server, tmp_path, monkeypatch):
    scripts = {"gone": [missing], "wrong": [WRONG], "cut": [CUT, missing], "good": [ranged]}
    server.script |= scripts
    mirrors = {"http://127.0.0.1:9/refused": HASH}
    mirrors |= {f"{server.url}/{name}": HASH for name in scripts}
    sourced(monkeypatch, "whdld", {"a.zip": mirrors})
    (file,) = prepare._download("whdld", tmp_path / "got", False)
    assert file.read_bytes() == CONTENT
    assert ranges(server)[-1] is None  # not continued from what another mirror had sent


def test_when_all_mirrors_fail_each_is_named_with_its_reason_and_what_to_do(
    server, tmp_path, monkeypatch
):
    server.script |= {"gone": [missing], "wrong": [WRONG]}
    urls = [f"{server.url}/gone", f"{server.url}/wrong"]
    sourced(monkeypatch, "whdld", {"a.zip": dict.fromkeys(urls, HASH)})
    with pytest.raises(ArchiveError) as error:
        prepare._download("whdld", tmp_path / "got", False)
    message = str(error.value)
    assert f"- {urls[0]}: 404 Client Error" in message
    assert f"- {urls[1]}: SHA256 hash of downloaded file" in message
    for remedy in ("Run the same again", "HTTPS_PROXY", READERS["whdld"].page, "whdld --from"):
        assert remedy in message


# --- From a packed file to an archive ------------------------------------------------------------


def whdld(n=12):
    """Members of a WHDLD of n images in its official tree; all labels are in every one."""
    members = []
    for i in range(n):
        mask = np.array([*COLOURS.values()], dtype=np.uint8)[np.arange(36).reshape(6, 6) % 6]
        for folder, suffix, pixels in ("Images", "jpeg", mask // 2 + i), ("ImagesPNG", "png", mask):
            image = io.BytesIO()
            Image.fromarray(pixels).save(image, suffix)
            members.append((f"WHDLD/{folder}/wh{i:04}.{suffix}", "file", image.getvalue()))
    return members


def dump(pack, members):
    with tempfile.TemporaryDirectory() as folder:
        pack(Path(folder, "x"), members)
        return Path(folder, "x").read_bytes()


@pytest.fixture
def small(server, tmp_path, monkeypatch):
    """WHDLD, were it of twelve images and one file at one address, with or without known hash."""
    monkeypatch.setitem(READERS, "whdld", READERS["whdld"]._replace(size=12))

    def serve(members, known=True, pack=zipped):
        content = dump(pack, members)
        hash = f"sha256:{sha256(content).hexdigest()}" if known else None
        server.script["whdld.zip"] = [partial(ranged, content=content)]
        sourced(monkeypatch, "whdld", {"whdld.zip": {f"{server.url}/whdld.zip": hash}})
        return content

    return serve


def shown(folder):
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


@pytest.mark.parametrize(("pack", "known"), [(zipped, True), (tarred, False)])
def test_from_a_server_to_a_data_sheet(small, server, tmp_path, capsys, pack, known):
    content, data = small(whdld(), known, pack), tmp_path / "data"
    words = ["data", "prepare", "whdld", "--image-size", "6"]
    assert main(words) == 0
    out = capsys.readouterr().out
    how = "as published" if known else "no known hash, so verified by contents"
    assert f"received whdld.zip: {len(content):,} bytes, {how}" in out
    assert f"SHA-256 {sha256(content).hexdigest()}" in out
    assert "0 of 6 labels as in Table 3 of the paper; bare soil 12 (not 3,539), building 12" in out
    assert "Gaofen-1" in out and "licence" in out and "WHDLD: 12 images at 6 px, 6 labels" in out
    assert shown(data) == ["whdld"]
    assert sorted(os.listdir(data / "whdld")) == ["WHDLD", "received.json"]
    archive = load_archive("whdld", image_size=6)
    assert json.loads((data / "whdld" / "received.json").read_text()) == {
        "archive": "whdld",
        "fingerprint": archive.fingerprint,
        "images": 12,
        "received": [
            {
                "name": "whdld.zip",
                "bytes": len(content),
                "sha256": sha256(content).hexdigest(),
                "published": known,
            }
        ],
    }
    asked = len(server.requests)
    assert main(words) == 0 and capsys.readouterr().out == out  # there already: told again
    assert len(server.requests) == asked == 1


def test_from_what_the_user_has(small, server, tmp_path, capsys):
    members = whdld()
    small(members)
    images, masks = members[::2], members[1::2]
    (tmp_path / "downloads").mkdir()
    zipped(tmp_path / "downloads" / "images.zip", images)
    tarred(tmp_path / "masks.tar.gz", masks)
    words = ["data", "prepare", "whdld", "--image-size", "6", "--from"]
    given = [str(tmp_path / "downloads"), str(tmp_path / "masks.tar.gz")]
    assert main([*words, *given]) == 0
    assert "masks.tar.gz: " in capsys.readouterr().out
    assert shown(tmp_path / "data") == ["whdld"]
    assert not server.requests and (tmp_path / "masks.tar.gz").exists()
    assert main([*words, *given]) == 1
    assert "is there already: move it away to replace it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[2:], "11 images, where it has 12: are files missing?"),
        (lambda m: m[1:], "1 x row without an image"),
        (lambda m: m[::2], "1 x path not found"),
        (lambda m: [*m[2:], (m[0][0], "file", b"no"), m[1]], "wh0000.jpeg: not an image"),
        (lambda m: [*m, ("../evil", "file", b"")], "whdld.zip: ../evil: a path with .."),
        (lambda m: [*m, (m[0][0].upper(), "file", b"")], "the same place, case aside"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_kept_of_what_is_not_the_whole_archive(
    small, tmp_path, capsys, change, message, known
):
    small(change(whdld()), known)
    assert main(["data", "prepare", "whdld", "--image-size", "6"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and ".whdld.new" not in err
    kept = [] if not known else ["whdld.zip"]  # by its hash it is what has been published
    assert shown(tmp_path / "data") == [".whdld.part"]
    assert os.listdir(tmp_path / "data" / ".whdld.part") == kept
    small(whdld(), known)
    assert main(["data", "prepare", "whdld", "--image-size", "6"]) == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), SystemExit])
@pytest.mark.parametrize("place", ["extract", "load_archive", "os.rename", "os.sync"])
def test_a_failure_at_any_step_leaves_the_download_and_nothing_else(
    small, server, tmp_path, monkeypatch, place, error
):
    small(whdld())
    work = partial(prepare.prepare, "whdld", image_size=6, progress=False)

    def fail(*words, real=os.rename, **_):
        if place == "os.rename" and Path(words[1]).name != "whdld":
            return real(*words)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"maclcore.data.prepare.{place}", fail)
        with pytest.raises((OSError, SystemExit)):
            work()
    assert shown(tmp_path / "data") == [".whdld.part"]
    (tmp_path / "data" / ".whdld.new" / "whdld").mkdir(parents=True)  # as a killed one leaves it
    assert len(work()) == 12 and len(server.requests) == 1
    assert shown(tmp_path / "data") == ["whdld"]


def test_where_the_system_cannot_write_all_at_once(small, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sync", raising=False)  # as on Windows
    small(whdld())
    assert len(prepare.prepare("whdld", image_size=6, progress=False)) == 12
    assert shown(tmp_path / "data") == ["whdld"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ml_aid"], "ML-AID lies on a cloud drive, which takes a browser: download it from https"),
        (["ml_aid"], "run\n  python -m maclcore data prepare ml_aid --from FILE_OR_FOLDER"),
        (["whdl"], "no source of an archive 'whdl'; did you mean 'whdld'?"),
        (["synthetic"], "synthetic needs no preparation: python -m maclcore data synthetic"),
        (["."], ". needs no preparation: python -m maclcore data ."),
        (["dlrsd", "--from", "nothing.zip"], "no such file or folder: "),
    ],
)
def test_what_cannot_be_prepared_is_told_with_the_remedy(tmp_path, words, message, capsys):
    assert main(["data", "prepare", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and "Traceback" not in err


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as end:
        main(["data", "prepare", "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and "Example: python -m maclcore data prepare" in out
    assert "--from" in out


def test_label_counts_are_held_against_table_3():
    table = pd.read_csv(paths.paper_root() / "table3.csv", index_col="label")["ml_aid"].dropna()
    labels = np.arange(3000)[:, None] < table.to_numpy()
    archive = SimpleNamespace(name="ml_aid", labels=labels, label_names=tuple(table.index))
    assert prepare._against_published(archive) == "17 of 17 labels as in Table 3 of the paper"
    labels[2406:2408, list(table.index).index("tree")] = True
    told = "16 of 17 labels as in Table 3 of the paper; tree 2,408 (not 2,406)"
    assert prepare._against_published(archive) == told


def test_each_address_is_one_and_each_hash():
    files = [file for reader in READERS.values() for file in reader.files.values()]
    mirrors = [mirror for file in files for mirror in file.items()]
    assert all(re.fullmatch(r"https?://\S+", url) for url, _ in mirrors)
    known = [hash for _, hash in mirrors if hash is not None]
    assert len(known) >= 4
    assert all(re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", hash) for hash in known)


REAL = Path(os.environ.get("MACL_DATA", ""), "ucm_multilabel", "labels.csv")


@pytest.mark.skipif(not REAL.exists(), reason="MACL_DATA has no UC Merced")
def test_the_counts_of_uc_merced_are_those_of_its_table():
    y, label_names = read_labels(REAL)
    counts = dict(zip(label_names, y.sum(axis=0).tolist(), strict=True))
    assert counts == READERS["ucm_multilabel"].counts
