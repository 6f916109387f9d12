"""The named archives: how each one's files are read, what is known of it, where it comes from.

An archive is a function, which fills in a `Reading` from the files in `reading.folder`, and an
entry of `READERS`; nothing else needs to know. A reader calls `reading.find`, `files`, `read_table`
and `read_masks`, which collect all that is wrong instead of stopping at the first fault. Its
keyword-only arguments are the archive's options for `load_archive`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from maclcore.data import cache
from maclcore.data.reading import Reading
from maclcore.data.synthetic import LABELS


class Reader(NamedTuple):
    """A named archive. The first four are needed, the others for as far as they are known.

    `files`: of each file to download, its addresses, and for each the hash of what must be there,
    "sha256:…" or "md5:…", or None where none has been published. Without files, `data prepare` says
    that the archive `by_hand`, from `page`, and takes it with `--from`.
    `counts`, by `counted`: how many images have each label; Table 3 of the paper needs no copy.
    """

    title: str
    tree: str  #: what lies in its folder, in words
    read: Callable[..., None]  #: read(reading, **options)
    page: str  #: where it is to be had
    label_names: tuple[str, ...] = ()  #: in their order; (): as its files have them
    size: int | None = None  #: images of the whole archive; None: not checked
    sensor: str = ""
    licence: str = ""
    cite: str = ""
    files: Mapping[str, Mapping[str, str | None]] = {}
    by_hand: str = "must be fetched by hand"
    counts: Mapping[str, int] = {}
    counted: str = ""
    official: Callable[[str], bool] | None = None  #: of an image's name: is it of the test part?


def official_test(archive: str, names: Sequence[str]) -> np.ndarray:
    """(N,) bool: which images the official split of an archive tests on, by their names.

    ValueError for an archive without one, and for names that do not tell.
    """
    reader = READERS.get(archive)
    if reader is None or reader.official is None:
        has = ", ".join(name for name, one in READERS.items() if one.official)
        raise ValueError(
            f"{archive} has no official split that the names of its images tell ({has} has): take "
            "split='random'"
        )
    try:
        return np.array([reader.official(name) for name in names])
    except ValueError as error:
        raise ValueError(f"the official split of {reader.title} takes names as {error}") from None


READERS: dict[str, Reader] = {}

_HF = "https://hf.co/datasets"  # copies without changes, each pinned to a revision
_USGS = "aerial, USGS National Map Urban Area Imagery, 0.3 m"
_LICENCE = "images: public domain (USGS); labels: none stated, cite their authors"
_ZHOU = "https://sites.google.com/view/zhouwx/dataset"
_CLOUD = "lies on a cloud drive, which takes a browser"


# --- DLRSD ---------------------------------------------------------------------------------------


def _dlrsd(reading: Reading, *, min_pixels: int | None = None) -> None:
    if reading.is_plain(min_pixels=min_pixels):
        return _plain_dlrsd(reading)
    reading.images = reading.files(reading.find("Images"))
    files = [*reading.folder.glob("[!~.]*"), *reading.folder.glob("*/[!~.]*")]
    sheets = [file for file in files if file.suffix.lower() == ".xlsx"]
    values = {label: (i + 1,) for i, label in enumerate(LABELS)}
    if min_pixels is not None or not sheets:
        reading.read_masks(reading.find("Labels"), values, min_pixels)
    else:
        if (masks := reading.find("Labels")).is_dir():  # read where areas are asked for
            reading.areas = partial(reading.mask_areas, masks, values)
        reading.read_table(sheets[0])
        reading.faults["spreadsheet too many: keep one"] += map(str, sheets[1:])


def _plain_dlrsd(reading: Reading) -> None:
    own, theirs = (f / "images" for f in (reading.folder, reading.folder.parent / "ucm_multilabel"))
    # DLRSD relabels the scenes of UC Merced, so beside them its table alone will do.
    reading.images = reading.files(theirs if theirs.exists() and not own.exists() else own)
    reading.read_table(reading.folder / "labels.csv")
    counts = dict(zip(reading.label_names, sum(y for _, y in reading.rows.values()), strict=False))
    if len(reading.rows) == 2100 and (counts.get("tree"), counts.get("water")) == (1009, 203):
        reading.title = "DLRSD*"
        reading.footnote = (
            "15 of the 17 label columns are DLRSD's own; tree and water are UC Merced's (1,009 and "
            "203 images, where Table 3 of the paper has 1,021 and 208), so at least 17 of 35,700 "
            "cells differ from the published DLRSD."
        )


READERS["dlrsd"] = Reader(
    title="DLRSD",
    tree="DLRSD/Images/<class>/ and DLRSD/Labels/<class>/ or a spreadsheet",
    read=_dlrsd,
    page=_ZHOU,
    label_names=LABELS,
    size=2100,
    sensor=f"{_USGS} (the scenes of UC Merced)",
    licence=_LICENCE,
    cite="Shao, Yang & Zhou, Remote Sensing 10(6), 2018; Chaudhuri et al., IEEE TGRS 56(2), 2018",
    files={
        "DLRSD.zip": {
            f"{_HF}/calebrob6/dlrsd/resolve/dcd622dd05f327cd0fd10951ad6cd7ba52d0e832/DLRSD.zip": (
                "sha256:cb49d850855a7622c51b5f09dbdf98952e064b661f35cb105e8749513e75796f"
            ),
            f"{_HF}/torchgeo/dlrsd/resolve/073a50e4ec8f531510f0ee72f2cf953816e01fd7/DLRSD.zip": (
                "md5:2df826d636fb68bf36c0250ae62a9161"
            ),
        }
    },
)


# --- UC Merced -----------------------------------------------------------------------------------


def _ucm(reading: Reading) -> None:
    if reading.is_plain():
        return reading.read_plain()
    reading.images = reading.files(reading.find("Images"))
    reading.read_table(reading.find("LandUse_Multilabeled.txt"))


_UCM_HASH = "sha256:06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb"
_UCM_COUNTS = [100, 718, 691, 886, 115, 105, 100, 103, 975, 102, 1300, 294, 100, 102, 100, 1009, 203]  # fmt: skip # noqa: E501
READERS["ucm_multilabel"] = Reader(
    title="UC Merced",
    tree="UCMerced_LandUse/Images/<class>/ and LandUse_Multilabeled.txt",
    read=_ucm,
    page="http://weegee.vision.ucmerced.edu/datasets/landuse.html, https://bigearth.eu/datasets",
    label_names=LABELS,
    size=2100,
    sensor=_USGS,
    licence=_LICENCE,
    cite="Yang & Newsam 2010 (images); Chaudhuri et al., IEEE TGRS 56(2), 2018 (labels)",
    files={
        "UCMerced_LandUse.zip": {
            "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip": _UCM_HASH,
            f"{_HF}/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/"
            "UCMerced_LandUse.zip": _UCM_HASH,
        },
        "multilabels.zip": {
            "https://bigearth.eu/assets/docs/multilabels.zip": None,
            "https://raw.githubusercontent.com/rsim-tu-berlin/bigearth.eu/"
            "a6617baba506644837865109ea3b80a3ab40fb31/assets/docs/multilabels.zip": None,
        },
    },
    counts=dict(zip(LABELS, _UCM_COUNTS, strict=True)),
    counted="the table of Chaudhuri et al. 2018",
)


# --- ML-AID --------------------------------------------------------------------------------------


def _ml_aid(reading: Reading, *, labels: str = "original") -> None:
    tables = {"original": "multilabel.csv", "corrected": "multilabel_correct_final.csv"}
    if labels not in tables:
        raise ValueError(f"labels is {labels!r}; ML-AID has {' and '.join(map(repr, tables))}")
    if reading.is_plain(labels=None if labels == "original" else labels):
        reading.read_plain()
    else:
        reading.images = reading.files(reading.find("images_tr"), reading.find("images_test"))
        reading.read_table(reading.find(tables[labels]))
    try:
        side = max(cache.open_image(next(iter(reading.images.values()))).size)
    except (StopIteration, ValueError):
        return  # no images, or a broken one: reported with the other faults
    if side < 600:
        reading.title = f"ML-AID {side} px"
        reading.footnote = f"Images of {side} px, the original's have 600: small objects are lost."


def _ml_aid_test(name: str) -> bool:
    """The last twenty of the hundred images of each scene class: 81 to 100, of park 181 to 200."""
    numbered = re.fullmatch(r"\D+_(\d+)", name)
    if numbered is None:
        raise ValueError(f"airport_81, a scene class and a number, not {name!r}")
    return (int(numbered[1]) - 1) % 100 >= 80


READERS["ml_aid"] = Reader(
    title="ML-AID",
    tree="images_tr/<Class>/, images_test/<Class>/ and multilabel.csv",
    read=_ml_aid,
    page="https://github.com/Hua-YS/AID-Multilabel-Dataset",
    label_names=LABELS,
    size=3000,
    sensor="Google Earth imagery (of AID), 8 to 0.5 m",
    licence="Google Earth imagery: research use, never redistribute",
    cite="Hua, Mou & Zhu, IEEE TGRS 58(7), 2020; Xia et al., IEEE TGRS 55(7), 2017 (AID)",
    by_hand=_CLOUD,
    official=_ml_aid_test,
)


# --- WHDLD ---------------------------------------------------------------------------------------

# in the order of Table 3 of the paper, with the colours of the masks
COLOURS = {
    "building": (255, 0, 0),
    "road": (255, 255, 0),
    "pavement": (192, 192, 0),
    "vegetation": (0, 255, 0),
    "bare soil": (128, 128, 128),
    "water": (0, 0, 255),
}


def _whdld(reading: Reading, *, min_pixels: int | None = None) -> None:
    if reading.is_plain(min_pixels=min_pixels):
        return reading.read_plain()
    reading.images = reading.files(reading.find("Images"))
    reading.read_masks(reading.find("ImagesPNG"), COLOURS, min_pixels)


READERS["whdld"] = Reader(
    title="WHDLD",
    tree="Images/ and ImagesPNG/",
    read=_whdld,
    page=_ZHOU,
    label_names=tuple(COLOURS),
    size=4940,
    sensor="Gaofen-1 and Ziyuan-3, 2 m",
    licence="none stated: research use, cite its authors",
    cite="Shao et al., IEEE JSTARS 13, 2020; Shao, Yang & Zhou, Remote Sensing 10(6), 2018",
    by_hand=_CLOUD,
)
