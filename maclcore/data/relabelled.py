"""The same images under other labels, so that one can ask what depends on how labels are made.

ucm_scenes     UC Merced with one label an image: the 21 scene classes in the names of its files
synthetic_5    the drawn scenes with their 17 labels joined to 5 kinds of cover
synthetic_60   the drawn scenes with the 17 labels told apart by amount, as CORINE tells continuous
               from discontinuous urban fabric: 60 labels with a long tail, and as many an image
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from maclcore.data.readers import READERS, Reader
from maclcore.data.reading import ArchiveError
from maclcore.data.synthetic.render import REFERENCE

#: which of the 17 labels each of the 5 stands for
COVERS = {
    "bare ground": "bare soil,sand",
    "built": "building,court,dock,mobile home,pavement,tank",
    "plants": "chaparral,field,grass,tree",
    "vehicle": "airplane,car,ship",
    "water": "sea,water",
}
#: from which share of an image on a label covers so much of it
AMOUNTS = {"trace": 0.0, "little": 1 / 16, "some": 1 / 8, "much": 1 / 4, "most": 1 / 2}
#: an amount that fewer images show is taken for the nearest one that more do
FEWEST = 5

Labels = tuple[np.ndarray, tuple[str, ...]]


def scenes(archive: Any) -> Labels:
    """The class in which each image's name begins, as beach of beach07, (N, L) bool; L names."""
    classes = [name.rstrip("0123456789") for name in archive.names]
    if unnamed := [n for n, c in zip(archive.names, classes, strict=True) if c in ("", n)]:
        raise ArchiveError(f"names that are no scene class and a number: {', '.join(unnamed[:5])}")
    label_names, index = np.unique(classes, return_inverse=True)
    return np.eye(len(label_names), dtype=bool)[index], tuple(map(str, label_names))


def covers(archive: Any) -> Labels:
    """The kinds of cover of each image, (N, 5) bool, and their names."""
    joined = [
        archive.labels[:, [archive.label_names.index(name) for name in names.split(",")]]
        for names in COVERS.values()
    ]
    return np.stack([labels.any(axis=1) for labels in joined], axis=1), tuple(COVERS)


def amounts(archive: Any) -> Labels:
    """Each label with how much of an image it covers, (N, L) bool, and names such as "sea, most".

    An image has as many labels as before. A label that no image shows is left out.
    """
    share = archive.areas() / REFERENCE**2
    columns, label_names = [], []
    for j in np.flatnonzero(archive.labels.any(axis=0)):
        has = archive.labels[:, j]
        amount = np.digitize(share[:, j], list(AMOUNTS.values())) - 1
        counts = np.bincount(amount[has])
        kept = np.flatnonzero(counts >= min(FEWEST, counts.max()))
        amount = kept[abs(amount[:, None] - kept).argmin(axis=1)]
        columns += [has & (amount == one) for one in kept]
        label_names += [f"{archive.label_names[j]}, {list(AMOUNTS)[one]}" for one in kept]
    return np.stack(columns, axis=1), tuple(label_names)


class Relabelled(NamedTuple):
    """Which archive has the images, and what gives them their labels."""

    of: str
    title: str
    labels: Callable[[Any], Labels]


RELABELLED = {
    "ucm_scenes": Relabelled("ucm_multilabel", "UC Merced, scene classes", scenes),
    "synthetic_5": Relabelled("synthetic", "Synthetic, 5 labels", covers),
    "synthetic_60": Relabelled("synthetic", "Synthetic, 60 labels", amounts),
}


def reader_of(name: str) -> Reader | None:
    """What is known of the named archive that has the images, None if nothing is."""
    return READERS.get(RELABELLED[name].of if name in RELABELLED else name)


def relabel(name: str, archive: Any) -> Any:
    """The archive of that name, of the `Archive` or `Catalogue` that has its images."""
    of = RELABELLED[name]
    labels, label_names = of.labels(archive)
    changed = {"name": name, "title": of.title, "labels": labels, "label_names": label_names}
    if hasattr(archive, "fingerprint"):
        digest = hashlib.sha256(json.dumps([archive.fingerprint, label_names]).encode())
        digest.update(labels.tobytes())
        changed["fingerprint"] = digest.hexdigest()[:16]
    return replace(archive, areas=None, **changed)
