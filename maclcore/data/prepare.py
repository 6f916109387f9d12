"""Getting an archive in: download it or take what the user has, unpack, check, say what it is.

What arrives is checked by its published hash where there is one, and always by its contents: by the
reader, by the number of images, and by the images of each label. It appears in the data folder
whole, under its name, or not at all.
"""

import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pooch
import requests
from filelock import FileLock
from tqdm.auto import tqdm

from maclcore import paths
from maclcore.config import EMBEDDED, nearest
from maclcore.data import croissant
from maclcore.data.archives import Archive, load_archive, read_archive
from maclcore.data.extract import MAX_BYTES, extract, packing
from maclcore.data.readers import READERS
from maclcore.data.reading import ArchiveError, ArchiveWarning, printable
from maclcore.data.sheet import describe

ATTEMPTS = 20  # at one mirror, as long as each brings something
TIMEOUT = (15, 60)  # seconds to connect, seconds without a byte
RECORD = "received.json"
SHEETS = "croissant"  #: in the archive's folder, the data sheet for machines


def prepare(
    name: str,
    given: Sequence[str | Path] = (),
    *,
    image_size: int = 64,
    root: str | Path | None = None,
    progress: bool = True,
) -> Archive:
    """The archive `name` in `<root>/<name>`, which is made if it is not there, and in the cache.

    `given`: what the user has downloaded (see `extract`); otherwise it is downloaded. Beside the
    archive's files, `received.json` tells what was received, with its SHA-256, and
    `croissant/croissant.json` what it is, for machines.

    Raises ValueError for a name without a source; ArchiveError, with the remedy, for what cannot be
    fetched, unpacked or read, or is not the whole archive. `<root>/<name>` is not there then;
    downloads stay, as far as they may be right, and are resumed.
    """
    if name not in READERS:
        if name in EMBEDDED or Path(name).expanduser().is_dir():
            told = "" if name in EMBEDDED else _understood(name)
            raise ValueError(f"{name} needs no preparation: python -m maclcore data {name}{told}")
        raise ValueError(f"no source of an archive {name!r}{nearest(name, READERS)}")
    root = paths.data_root() if root is None else Path(root).expanduser().absolute()
    if not (root / name).exists():
        files = [Path(file).expanduser().absolute() for file in given]
        if absent := [str(file) for file in files if not file.exists()]:
            raise ArchiveError(f"no such file or folder: {', '.join(absent)}")
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if not (root / name).exists():  # another process may have made it meanwhile
                return _make(name, files, root, image_size, progress)
    elif given:
        raise ArchiveError(f"{root / name} is there already: move it away to replace it")
    return load_archive(name, image_size=image_size, root=root, progress=progress)


def data_sheet(archive: Archive, root: str | Path | None = None) -> str:
    """Where it is and from, sensor, licence, what to cite, how it was verified, and `describe`."""
    folder = (paths.data_root() if root is None else Path(root).expanduser()) / archive.name
    told = READERS[archive.name]._asdict()
    lines = [f"{archive.title} in {folder}"]
    lines += [f"{k:9}{told[k]}" for k in ("page", "sensor", "licence", "cite") if told[k]]
    if (folder / RECORD).exists():
        for file in json.loads((folder / RECORD).read_text())["received"]:
            how = "as published" if file["published"] else "no known hash, so verified by contents"
            lines += [f"received {file['name']}: {file['bytes']:,} bytes, {how}"]
            lines += [f"{'':9}SHA-256 {file['sha256']}"]
    if counts := _against_published(archive):
        lines += [f"{'counts':9}{counts}"]
    return "\n".join([*lines, "", describe(archive)])


def _understood(folder: str) -> str:
    """How a folder of one's own is read as it is, or what keeps it from that."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ArchiveWarning)  # `data` tells what is left out
            found = read_archive(folder, progress=False)
    except ArchiveError as error:
        return f"\n{error}"
    size = f"{len(found):,} images, {len(found.label_names)} labels"
    return "\n".join(["", size, *map(printable, found.said)])


# --- Contents ------------------------------------------------------------------------------------


def _make(name: str, given: list[Path], root: Path, image_size: int, progress: bool) -> Archive:
    downloads, workplace = root / f".{name}.part", root / f".{name}.new"
    files = given or _download(name, downloads, progress)
    shutil.rmtree(workplace, ignore_errors=True)  # of a process that was killed
    try:
        extract(files, workplace / name)
        archive = _checked(name, workplace, image_size, progress)
        record = {"archive": name, "fingerprint": archive.fingerprint, "images": len(archive)}
        record["received"] = [_received(name, file) for file in files if file.is_file()]
        (workplace / name / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        croissant.write(archive, workplace / name / SHEETS)
        if hasattr(os, "sync"):  # not on Windows
            os.sync()  # of thousands of files at once, before the name says that they are there
        os.rename(workplace / name, root / name)
    except ArchiveError:
        for file in files:  # what nobody has a hash of is not kept once it has proved wrong
            if not given and not _received(name, file)["published"]:
                file.unlink()
        raise
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)
    return archive


def _checked(name: str, root: Path, image_size: int, progress: bool) -> Archive:
    """Read it and compare its size; what is amiss is said with the remedy."""
    reader = READERS[name]
    try:
        archive = load_archive(name, image_size=image_size, root=root, progress=progress)
        if reader.size in (None, len(archive)):
            return archive
        text = f"{len(archive):,} images, where it has {reader.size:,}: are files missing?"
    except ArchiveError as error:
        text = str(error).replace(f"{root}{os.sep}", "")
    raise ArchiveError(
        f"what was received is not all of {reader.title}; nothing has been kept of it.\n{text}\n"
        f"It is {reader.tree}, packed or not, from {reader.page}"
    )


def _against_published(archive: Archive) -> str:
    """A difference is told, not refused: how many pixels make a label is the reader's to choose.

    "" where no counts have been published.
    """
    where, published = READERS[archive.name].counted, pd.Series(READERS[archive.name].counts)
    if published.empty:
        table = pd.read_csv(paths.paper_root() / "table3.csv", index_col="label")
        if archive.name not in table:
            return ""
        where, published = "Table 3 of the paper", table[archive.name].dropna().astype(int)
    have = pd.Series(archive.labels.sum(axis=0), archive.label_names)[published.index]
    differ = published.index[have != published]
    told = ", ".join(f"{label} {have[label]:,} (not {published[label]:,})" for label in differ)
    equal = f"{len(published) - len(differ)} of {len(published)} labels as in {where}"
    return f"{equal}; {told}" if told else equal


def _received(name: str, file: Path) -> dict:
    """What the record says of a file; published: its hash is known, of a file of this archive."""
    known = [h for mirrors in READERS[name].files.values() for h in mirrors.values() if h]
    hashes = {kind: pooch.file_hash(str(file), kind) for kind in ("sha256", "md5")}
    told = {"name": file.name, "bytes": file.stat().st_size, "sha256": hashes["sha256"]}
    return told | {"published": any(f"{kind}:{h}" in known for kind, h in hashes.items())}


# --- Downloading ---------------------------------------------------------------------------------


def _download(name: str, folder: Path, progress: bool) -> list[Path]:
    """All files of the archive, in `folder`; what is whole there is not fetched again."""
    reader = READERS[name]
    command = f"python -m maclcore data prepare {name} --from FILE_OR_FOLDER"
    by_hand = f"download it from {reader.page} and run\n  {command}"
    if not reader.files:
        raise ArchiveError(
            f"{reader.title} {reader.by_hand}: {by_hand}\n"
            f"with the zip or tar.gz files, or where you unpacked them ({reader.tree})"
        )
    files = []
    for file, mirrors in reader.files.items():
        failures = []
        for url, known in mirrors.items():
            try:
                files.append(_fetch(file, url, known, folder, progress))
                break
            except (requests.RequestException, ValueError) as error:
                failures.append(f"- {url}: {error}")
        else:
            raise ArchiveError(
                "\n".join([f"{file} could not be downloaded:", *failures])
                + "\nRun the same again to go on where it stopped; behind a proxy set HTTPS_PROXY; "
                f"or {by_hand}"
            )
    return files


def _fetch(name: str, url: str, known: str | None, folder: Path, progress: bool) -> Path:
    """The file from this mirror, tried again for as long as something arrives."""
    # its own beginning for each mirror: one's is not continued with another's end
    part = folder / f"{name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    resume = partial(_resume, part=part, progress=progress)
    pooch.get_logger().setLevel("WARNING")
    for attempt in range(ATTEMPTS):
        before = _size(part)
        try:
            file = Path(pooch.retrieve(url, known, fname=name, path=folder, downloader=resume))
            break
        except (requests.RequestException, ValueError):
            if _size(part) == before or attempt == ATTEMPTS - 1:
                raise
    try:
        packing(file)
    except ArchiveError:  # such as a page that asks to log in
        file.unlink()
        raise
    return file


def _resume(url: str, output: str, _: object, *, part: Path, progress: bool) -> None:
    """pooch's downloader: GET what `part` lacks; when it is whole, move it to `output`."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
        span = reply.headers.get("Content-Range", "")
        if reply.status_code == 416 and span == f"bytes */{have}":
            return os.replace(part, output)
        continued = reply.status_code == 206 and span.startswith(f"bytes {have}-")
        if have and not continued and reply.status_code in (206, 416):  # not the file it was
            part.unlink()
            return _resume(url, output, _, part=part, progress=progress)
        reply.raise_for_status()
        length = reply.headers.get("Content-Length")
        total = have * continued + int(length) if length else None
        quiet = not (progress and sys.stderr.isatty())
        bar = tqdm(total=total, desc=Path(output).name, unit="B", unit_scale=True, disable=quiet)
        with bar, open(part, "ab" if continued else "wb") as out:
            bar.update(out.tell())
            for chunk in reply.iter_content(2**16):
                bar.update(out.write(chunk))
                if out.tell() > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES:,} bytes")
    if total not in (None, _size(part)):
        raise requests.ConnectionError(f"cut short after {_size(part):,} of {total:,} bytes")
    os.replace(part, output)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
