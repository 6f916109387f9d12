"""Archives fetched, unpacked and checked, whatever server, file and disk do."""

import errno
import io
import json
import os
import re
import tempfile
import threading
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from packing import tarred, zipped
from PIL import Image

from maclcore import paths
from maclcore.__main__ import main
from maclcore.data import ArchiveError, load_archive, prepare, read_labels
from maclcore.data.readers import COLOURS, READERS


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "data"))


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
    assert sorted(os.listdir(data / "whdld")) == ["WHDLD", "croissant", "received.json"]
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
def test_what_cannot_be_prepared_is_told_with_the_remedy(
    tmp_path, monkeypatch, words, message, capsys
):
    monkeypatch.chdir(tmp_path)
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
    counts = read_labels(REAL)[0].sum(axis=0).tolist()
    assert counts == [*READERS["ucm_multilabel"].counts.values()]
