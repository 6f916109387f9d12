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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pooch
import requests
from filelock import FileLock
from tqdm.auto import tqdm

from maclcore import paths
from maclcore.config import nearest
from maclcore.data.archives import READERS, Archive, ArchiveError, describe, load_archive
from maclcore.data.extract import MAX_BYTES, extract, packing
from maclcore.data.synthetic import LABELS

ATTEMPTS = 20  # at one mirror, as long as each brings something
TIMEOUT = (15, 60)  # seconds to connect, seconds without a byte
RECORD = "received.json"


class Source(NamedTuple):
    """Where an archive comes from: per file, each address and the hash of what must be there.

    None: no hash has been published. No files: to be downloaded by hand from `page`.
    """

    page: str
    sensor: str
    licence: str
    cite: str
    files: dict[str, dict[str, str | None]]


_HF = "https://hf.co/datasets"  # copies without changes, each pinned to a revision
_UCM = "sha256:06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb"
_UCM_FILES = {
    "UCMerced_LandUse.zip": {
        "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip": _UCM,
        f"{_HF}/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/"
        "UCMerced_LandUse.zip": _UCM,
    },
    "multilabels.zip": {
        "https://bigearth.eu/assets/docs/multilabels.zip": None,
        "https://raw.githubusercontent.com/rsim-tu-berlin/bigearth.eu/"
        "a6617baba506644837865109ea3b80a3ab40fb31/assets/docs/multilabels.zip": None,
    },
}
_DLRSD_FILES = {
    "DLRSD.zip": {
        f"{_HF}/calebrob6/dlrsd/resolve/dcd622dd05f327cd0fd10951ad6cd7ba52d0e832/DLRSD.zip": (
            "sha256:cb49d850855a7622c51b5f09dbdf98952e064b661f35cb105e8749513e75796f"
        ),
        f"{_HF}/torchgeo/dlrsd/resolve/073a50e4ec8f531510f0ee72f2cf953816e01fd7/DLRSD.zip": (
            "md5:2df826d636fb68bf36c0250ae62a9161"
        ),
    }
}
_USGS = "aerial, USGS National Map Urban Area Imagery, 0.3 m"
_LICENCE = "images: public domain (USGS); labels: none stated, cite their authors"
_ZHOU = "https://sites.google.com/view/zhouwx/dataset"
SOURCES = {
    "ucm_multilabel": Source(
        "http://weegee.vision.ucmerced.edu/datasets/landuse.html, https://bigearth.eu/datasets",
        _USGS,
        _LICENCE,
        "Yang & Newsam 2010 (images); Chaudhuri et al., IEEE TGRS 56(2), 2018 (labels)",
        _UCM_FILES,
    ),
    "dlrsd": Source(
        _ZHOU,
        f"{_USGS} (the scenes of UC Merced)",
        _LICENCE,
        "Shao, Yang & Zhou, Remote Sensing 10(6), 2018; Chaudhuri et al., IEEE TGRS 56(2), 2018",
        _DLRSD_FILES,
    ),
    "ml_aid": Source(
        "https://github.com/Hua-YS/AID-Multilabel-Dataset",
        "Google Earth imagery (of AID), 8 to 0.5 m",
        "Google Earth imagery: research use, never redistribute",
        "Hua, Mou & Zhu, IEEE TGRS 58(7), 2020; Xia et al., IEEE TGRS 55(7), 2017 (AID)",
        {},
    ),
    "whdld": Source(
        _ZHOU,
        "Gaofen-1 and Ziyuan-3, 2 m",
        "none stated: research use, cite its authors",
        "Shao et al., IEEE JSTARS 13, 2020; Shao, Yang & Zhou, Remote Sensing 10(6), 2018",
        {},
    ),
}
# Table 3 is without UC Merced: the counts of the table of Chaudhuri et al., in the order of LABELS
_UCM_COUNTS = [100, 718, 691, 886, 115, 105, 100, 103, 975, 102, 1300, 294, 100, 102, 100, 1009, 203]  # fmt: skip # noqa: E501


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
    archive's files, `received.json` tells what was received, with its SHA-256.

    Raises ValueError for a name without a source; ArchiveError, with the remedy, for what cannot be
    fetched, unpacked or read, or is not the whole archive. `<root>/<name>` is not there then;
    downloads stay, as far as they may be right, and are resumed.
    """
    if name not in SOURCES:
        if name == "synthetic" or Path(name).expanduser().is_dir():
            raise ValueError(f"{name} needs no preparation: python -m maclcore data {name}")
        raise ValueError(f"no source of an archive {name!r}{nearest(name, SOURCES)}")
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
    source = SOURCES[archive.name]
    lines = [f"{archive.title} in {folder}"]
    lines += [f"{key:9}{getattr(source, key)}" for key in ("page", "sensor", "licence", "cite")]
    if (folder / RECORD).exists():
        for file in json.loads((folder / RECORD).read_text())["received"]:
            how = "as published" if file["published"] else "no known hash, so verified by contents"
            lines += [f"received {file['name']}: {file['bytes']:,} bytes, {how}"]
            lines += [f"{'':9}SHA-256 {file['sha256']}"]
    return "\n".join([*lines, f"{'counts':9}{_against_published(archive)}", "", describe(archive)])


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
        if len(archive) == reader.size:
            return archive
        text = f"{len(archive):,} images, where it has {reader.size:,}: are files missing?"
    except ArchiveError as error:
        text = str(error).replace(f"{root}{os.sep}", "")
    raise ArchiveError(
        f"what was received is not all of {reader.title}; nothing has been kept of it.\n{text}\n"
        f"It is {reader.tree}, packed or not, from {SOURCES[name].page}"
    )


def _against_published(archive: Archive) -> str:
    """A difference is told, not refused: how many pixels make a label is the reader's to choose."""
    if archive.name == "ucm_multilabel":
        where, published = "the table of Chaudhuri et al. 2018", pd.Series(_UCM_COUNTS, LABELS)
    else:
        table = pd.read_csv(paths.paper_root() / "table3.csv", index_col="label")
        where, published = "Table 3 of the paper", table[archive.name].dropna().astype(int)
    have = pd.Series(archive.labels.sum(axis=0), archive.label_names)[published.index]
    differ = published.index[have != published]
    told = ", ".join(f"{label} {have[label]:,} (not {published[label]:,})" for label in differ)
    equal = f"{len(published) - len(differ)} of {len(published)} labels as in {where}"
    return f"{equal}; {told}" if told else equal


def _received(name: str, file: Path) -> dict:
    """What the record says of a file; published: its hash is known, of a file of this archive."""
    known = [h for mirrors in SOURCES[name].files.values() for h in mirrors.values() if h]
    hashes = {f"{kind}:{pooch.file_hash(str(file), kind)}" for kind in ("sha256", "md5")}
    told = {"name": file.name, "bytes": file.stat().st_size, "sha256": pooch.file_hash(str(file))}
    return told | {"published": not hashes.isdisjoint(known)}


# --- Downloading ---------------------------------------------------------------------------------


def _download(name: str, folder: Path, progress: bool) -> list[Path]:
    """All files of the archive, in `folder`; what is whole there is not fetched again."""
    page, title = SOURCES[name].page, READERS[name].title
    by_hand = f"from {page} and run\n  python -m maclcore data prepare {name} --from FILE_OR_FOLDER"
    if not SOURCES[name].files:
        raise ArchiveError(
            f"{title} lies on a cloud drive, which takes a browser: download it {by_hand}\n"
            f"with the zip or tar.gz files, or where you unpacked them ({READERS[name].tree})"
        )
    files = []
    for file, mirrors in SOURCES[name].files.items():
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
                f"or download it {by_hand}"
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
