"""Labels of a folder of one's own completed: from a table that names some, or one, of each image's.

All images are completed, a tenth of those with a known label is held out for the detector alone.
Written are, beside the folder's `labels.csv`, which nothing touches:

labels.completed.csv       a 0/1 column a label: the known ones, and those that the classifier says
labels.probabilities.csv   how sure it is of each
labels.completed.json      from what and how: configuration, content, versions, date, counts

All three appear together or not at all. Earlier ones are replaced where they are as they were
written: what has been changed since, or is not from here, is somebody's work.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maclcore import paths, store
from maclcore.config import Config, Param
from maclcore.data import Archive, ArchiveError, Split, archive_name, load_archive
from maclcore.data.archives import locate
from maclcore.data.split import split_sizes
from maclcore.data.weak import check_single
from maclcore.models.weights import weights_content, weights_name
from maclcore.store.files import digest, json_bytes
from maclcore.store.identity import Source
from maclcore.training import completion, distributed
from maclcore.training.inputs import precision

TABLE, SURE, PROVENANCE = (
    "labels.completed.csv",
    "labels.probabilities.csv",
    "labels.completed.json",
)
LEAST = 10  # images with a known label: nine to train on, one for the detector


@dataclass(frozen=True, eq=False)
class Completed:
    """What has become of a folder's labels."""

    archive: Archive  #: whose labels (N, L) are the known ones
    labels: np.ndarray  #: (N, L) bool
    probabilities: np.ndarray  #: (N, L) float32
    provenance: Mapping[str, Any]
    table: Path


def complete(
    folder: str | Path,
    *,
    method: str = "gc",
    labels: str | Path | None = None,
    params: Mapping[str, Param] | None = None,
    device: str | None = None,
    progress: bool = True,
    **network: Any,
) -> Completed:
    """Complete the labels of the images in `folder`, and write them beside its `labels.csv`.

    method: a loss of `WEAK_LOSSES`; `params` as `Config.completion_params`.
    labels: the table of known labels, `image,label` or a 0/1 column a label, one or more an image;
        default: the folder's labels.csv. An image without any is completed, not trained on, and
        gets its likeliest label if none is above the threshold.
    network: `image_size`, `backbone`, `weights`, `bands`, `seed`, … of Config.

    Raises what `load_archive`, `classifier` and `Weak` raise; ArchiveError for fewer than `LEAST`
    images with a known label; FileExistsError where a file of another origin would be replaced;
    OSError, and nothing is written, where not all can be.
    """
    folder = locate(str(folder))
    table = folder / "labels.csv" if labels is None else Path(labels).expanduser().absolute()
    if not table.is_file():
        raise FileNotFoundError(
            f"no table of known labels {table}: write one with the columns image,label, a row an "
            "image, or name it by labels"
        )
    config = Config(
        archive=archive_name(str(folder)), labels=str(table), completion=method,
        completion_params=params or {}, **network,
    )  # fmt: skip
    check_single(table)
    completion.classifier(config)  # what cannot be trained is told before images are read
    archive = load_archive(
        folder, image_size=config.image_size, bands=config.bands, progress=progress,
        unlabelled=True, table=table,
    )  # fmt: skip
    source = _source(config, archive)
    with distributed.processes(device) as on:
        p = completion.predicted(source, on, progress)
        environment = store.environment(on, precision(config, on))
    found = completion.chosen(p, archive.labels, source)
    empty = ~found.any(axis=1)
    found[empty, p[empty].argmax(axis=1)] = True
    known = archive.labels.any(axis=1)
    counts = {
        "images": len(archive),
        "images without a known label": int((~known).sum()),
        "images given their likeliest label": int(empty.sum()),
        "trained on": len(source.split.train),
        "held out": len(source.split.validation),
        "labels": len(archive.label_names),
        "known labels per image": round(float(archive.labels[known].sum(axis=1).mean()), 3),
        "labels per image": round(float(found.sum(axis=1).mean()), 3),
    }
    said = {
        "written by": "maclcore complete",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": config.to_dict(),
        "classifier": completion.classifier(config).to_dict(),
        "content": {**source.identity, "table": _hash(table.read_bytes())},
        "environment": environment,
        "counts": counts,
    }
    said = _write(folder, archive, found, p, said)
    return Completed(archive, found, p, said, folder / TABLE)


def _source(config: Config, archive: Archive) -> Source:
    """Of the images with a known label most to train on, a tenth for the detector; none to test."""
    known = np.flatnonzero(archive.labels.any(axis=1))
    if len(known) < LEAST:
        raise ArchiveError(
            f"{config.labels} gives {len(known)} images of {archive.title} a label: to learn from "
            f"it takes {LEAST} at least, and more are better"
        )
    order = np.random.default_rng(config.seed).permutation(known)
    _, held, _ = split_sizes(len(known))
    split = Split(order[held:], order[:held], order[:0])
    weights = weights_content(config.backbone, config.weights)
    members = digest([[archive.names[i] for i in part] for part in split])
    identity = {"archive": archive.fingerprint, "split": members, "weights": weights}
    config = config.but(weights=weights_name(config.weights))
    return Source(config, (), archive, split, identity, archive.labels)


# --- Files ---------------------------------------------------------------------------------------


def _write(
    folder: Path,
    archive: Archive,
    labels: np.ndarray,
    probabilities: np.ndarray,
    said: dict[str, Any],
) -> dict[str, Any]:
    """All three files, or none; what the last of them says."""
    tables = {TABLE: labels.astype(int), SURE: probabilities}
    content = {}
    for name, cells in tables.items():
        table = pd.DataFrame(cells, index=list(archive.names), columns=list(archive.label_names))
        text = table.rename_axis("image").to_csv(float_format="%.6g", lineterminator="\n")
        content[name] = text.encode()
    said = {**said, "files": {name: _hash(text) for name, text in content.items()}}
    content[PROVENANCE] = json_bytes(said)
    _check_own(folder, content)
    with ExitStack() as written:
        for name in reversed(content):  # so that the tables are renamed first
            temporary = written.enter_context(paths.atomic_path(folder / name))
            temporary.write_bytes(content[name])
    return said


def _check_own(folder: Path, content: Mapping[str, bytes]) -> None:
    """FileExistsError for a file that is not as an earlier call wrote it, nor as this one does."""
    try:
        earlier = json.loads((folder / PROVENANCE).read_bytes())
        ours = dict(earlier["files"]) if earlier["written by"] == "maclcore complete" else {}
    except (OSError, ValueError, LookupError, TypeError):
        ours = {}
    for name, text in content.items():
        file = folder / name
        if not file.exists() or (name == PROVENANCE and ours):
            continue
        if _hash(file.read_bytes()) not in (ours.get(name), _hash(text)):
            raise FileExistsError(
                f"{file} is there and not as it was written by `complete`, so it may be your own "
                "work: move or rename it"
            )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
