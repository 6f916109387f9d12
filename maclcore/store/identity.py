"""Which stored run is the one asked for: of the same configuration, made from the same content.

A configuration names an archive and initial weights, and what these names stand for can change. So
a run keeps an *identity*, hashes of all that its outcome depends on beside the configuration:

archive   images, labels, their names and their order, at the run's size (`Archive.fingerprint`)
split     the members of training, validation and test, in order
weights   the content of the initial weights; "" for reference rows that have no network
labels    what training and validation see of the labels; only where that is not all

The first content under a configuration has the folder `run_id`, any other has `run_id@` and eight
digits of its identity. A run is returned, resumed, evaluated and searched for its content alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maclcore import paths, store
from maclcore.config import LABELS, Config
from maclcore.data import Archive, ArchiveError, Split, archive_name, load_archive
from maclcore.data.archives import is_named, split_rows
from maclcore.data.weak import known_labels, table_file
from maclcore.evaluation.reference import LABELS_ALONE
from maclcore.models.weights import weights_content, weights_name
from maclcore.store import Run
from maclcore.store.files import digest

#: a part of a split needs a query and an image that it may find
LEAST = 2


@dataclass(frozen=True, eq=False)
class Source:
    """What a run is made from: what its configuration asks for, and what that stands for now."""

    config: Config  #: its folder and weights in a form that is found from anywhere
    ids: tuple[str, ...]  #: of the configuration as it was given: its own, then former ones
    archive: Archive
    split: Split
    identity: Mapping[str, str]
    weak: np.ndarray | None = None  #: `known`, where it is not all of the archive's labels

    @property
    def known(self) -> np.ndarray:
        """(N, L) bool, what training and validation may see of the labels (`maclcore.data.weak`);
        the test split is measured on the archive's."""
        return self.archive.labels if self.weak is None else self.weak

    @property
    def key(self) -> str:
        return digest(self.identity)[:8]


def identify(config: Config, *, archive: Archive | None = None, progress: bool = False) -> Source:
    """What `config` stands for now; `archive` if it has been loaded already.

    Raises what `load_archive` raises, saying if the store has such a run all the same; ArchiveError
    for too few images, and what `known_labels` raises; FileNotFoundError for weights or a table of
    labels that are not there.
    """
    # of a folder of one's own a table may tell labels that the folder does not
    own = not is_named(config.archive) and config.labels not in LABELS
    options: dict[str, Any] = {"unlabelled": True} if own else {}
    try:
        archive = archive or load_archive(
            config.archive, image_size=config.image_size, progress=progress, bands=config.bands,
            **options,
        )  # fmt: skip
    except ArchiveError as error:
        raise ArchiveError(f"{error}{_but_stored(config)}") from error
    official = config.split == "official"
    split = archive.split(config.split_seed, official=official, share=config.train_share)
    if min(len(split.validation), len(split.test)) < LEAST:
        raise ArchiveError(
            f"{archive.title} has {len(archive)} images: of its validation part, "
            f"{len(split.validation)}, and its test part, {len(split.test)}, each needs at least "
            f"{LEAST}, a query and what it may find; 15 images are enough"
        )
    ids, weights = (config.run_id, *config.former_ids), ""
    if config.loss not in LABELS_ALONE:
        weights = weights_content(config.backbone, config.weights)
        config = config.but(weights=weights_name(config.weights))
    members = _members(archive.names, split)
    identity = {"archive": archive.fingerprint, "split": members, "weights": weights}
    if config.labels not in LABELS:
        config = config.but(labels=table_file(config.labels, config.archive))
    weak = None
    if config.labels != "complete":
        validation = config.validation_labels
        weak = known_labels(archive, split, config.labels, seed=config.seed, validation=validation)
        identity["labels"] = digest(np.packbits(weak).tobytes().hex())
    config = config.but(archive=archive_name(config.archive))
    return Source(config, ids, archive, split, identity, weak)


def place(source: Source) -> Run:
    """The run of `source`: the stored one, finished or not, or else where it is to be."""
    own = f"{source.config.run_id}@{source.key}"
    for run_id in (*source.ids, own):
        run = Run(paths.runs_root() / run_id)
        if run.claimed and not differences(run, source):
            return run
    first = Run(paths.runs_root() / source.config.run_id)
    run = Run(paths.runs_root() / own) if first.claimed else first
    if run.claimed:
        raise ValueError(f"{run.folder} was made from other content than it says: move it away")
    return run


@contextmanager
def claim(source: Source, wait: float = -1) -> Iterator[Run]:
    """The run of `source`, held against other processes unless it is finished.

    Arguments and errors as of `Run.alone`. A start that saved nothing leaves nothing.
    """
    while True:
        run = place(source)
        if run.finished:
            yield run
            return
        with run.alone(wait):
            if place(source) == run:  # nobody with other content was here first
                try:
                    if not run.finished:
                        begin(run, source)
                    yield run
                finally:
                    run.tidy()
                return


def begin(run: Run, source: Source) -> None:
    """Say in the folder of `run` what it is to be made from; for whoever holds it."""
    store.write_json(run.folder / "config.json", source.config.to_dict())
    store.write_json(run.folder / store.IDENTITY, source.identity)


def differences(run: Run, source: Source) -> list[str]:
    """What `run` was made from and `source` is not, in words; [] if they are the same."""
    stored, now = _stored_identity(run), source.identity
    if not stored:
        return ["it does not say what it was made from"]
    found = []
    if stored["archive"] != now["archive"]:
        found += _changes(run, stored["archive"], source.archive)
    if not _same_split(run, stored, source):
        found.append("another split")
    if stored["weights"] != now["weights"]:
        found.append(f"other weights ({stored['weights']}, here {now['weights']})")
    if stored.get("labels") != now.get("labels"):
        found.append(f"other known labels in {Path(source.config.labels).name}")
    return found


def told(run: Run, source: Source) -> str:
    """Why the first stored run of a configuration is not the one that `source` is."""
    first = Run(paths.runs_root() / source.config.run_id)
    return (
        f"{first.run_id} is stored, but from other content: {', '.join(differences(first, source))}"
        f". This is {run.run_id}"
    )


def check(run: Run, source: Source) -> None:
    """ValueError if `run` was made from other content than `source`, saying what differs."""
    if found := differences(run, source):
        raise ValueError(
            f"{run.run_id} was made from other content than is in {source.config.archive} now: "
            + ", ".join(found)
        )


def chosen(configs: Iterable[Config], rows: pd.DataFrame) -> list[str | None]:
    """Which of `rows` of `collect()` each configuration has, None if none.

    Where several contents are stored under one, it is that of the archive at hand, or the first.
    """
    by_config: dict[str, list[str]] = {}
    for run_id in rows.index:
        by_config.setdefault(run_id.split("@")[0], []).append(run_id)
    found = []
    for config in configs:
        ids = [i for one in (config.run_id, *config.former_ids) for i in by_config.get(one, [])]
        if len(ids) > 1:
            with suppress(ValueError, OSError):  # not at hand
                own = place(identify(config)).run_id
                ids = [own] if own in ids else []
        found.append(ids[0] if ids else None)
    return found


def unseen(run: Run, archive: Archive, index: np.ndarray) -> np.ndarray:
    """Which of the images `index` of another archive `run` was not trained on, (Q,) bool.

    By the content of the image files. ValueError if it is not known what it was trained on.
    """
    identity = _stored_identity(run)
    table = recall(identity["archive"])
    if table is None:
        with suppress(ValueError, OSError):
            source = identify(run.config)
            table = None if differences(run, source) else _table(source.archive)
    if table is None:
        raise ValueError(
            f"which images {run.run_id} was trained on is not known here, and some may be among "
            f"these: bring its archive, {run.config.archive}, as it was"
        )
    places, parts = (_take(table, column) for column in (PLACE, PART))
    labels = table.drop(columns=CONTENT).to_numpy()
    config, name = run.config, Path(run.config.archive).name
    official = config.split == "official"
    split = split_rows(
        name, table.index, labels, config.split_seed, official=official, places=places, parts=parts,
        share=config.train_share,
    )  # fmt: skip
    if identity.get("split", _members(table.index, split)) != _members(table.index, split):
        raise ValueError(f"{run.run_id} has another split than this version of maclcore makes")
    seen = set(table[CONTENT].iloc[split.train])
    return np.array([archive.contents[i] not in seen for i in index])


def check_unseen(run: Run, archive: Archive, index: np.ndarray) -> None:
    """ValueError if `run` was trained on some of the images `index` of another archive, saying of
    how many; of its own archive nothing is asked."""
    if archive.fingerprint == run.identity["archive"]:
        return
    if seen := (~unseen(run, archive, index)).sum():
        raise ValueError(
            f"{run.run_id} was trained on {seen:,} of the {len(index):,} images that would measure "
            "it: take an archive without them; `evaluate --split all` measures seen ones as well"
        )


# --- What an archive held, so that a change of it can be told ------------------------------------

CONTENT = "content"  # before a column "label: …" for each label
PLACE = "place"  # after it, of archives that show places several times
PART = "part"  # after it, of archives whose table tells a split


def remember(archive: Archive) -> None:
    """Keep names, labels and hashes of an archive's images, where the results can be written to."""
    file = _memory(archive.fingerprint)
    if not file.is_file():
        with suppress(OSError), paths.atomic_path(file) as temporary:
            _table(archive).to_parquet(temporary, compression="zstd")


def recall(fingerprint: str) -> pd.DataFrame | None:
    """What `remember` has kept: a row an image, indexed by name; CONTENT, then a column a label."""
    try:
        return pd.read_parquet(_memory(fingerprint))
    except (OSError, ValueError):  # it never was here, or is damaged
        return None


def _memory(fingerprint: str) -> Path:
    return paths.results_root() / "archives" / f"{fingerprint}.parquet"


def _table(archive: Archive) -> pd.DataFrame:
    columns = [f"label: {name}" for name in archive.label_names]
    table = pd.DataFrame(archive.labels, index=archive.names, columns=columns)
    if archive.parts:
        table.insert(0, PART, list(archive.parts))
    if archive.places:
        table.insert(0, PLACE, list(archive.places))
    table.insert(0, CONTENT, list(archive.contents))
    return table


def _take(table: pd.DataFrame, column: str) -> list[str]:
    """PLACE or PART, which leaves the table; [] if there is none."""
    return list(table.pop(column)) if column in table else []


def _changes(run: Run, fingerprint: str, archive: Archive) -> list[str]:
    """What `archive` has otherwise than the one of that fingerprint, as far as it is remembered."""
    before, now = recall(fingerprint), _table(archive)
    if before is None:
        was = f"archive {fingerprint}"
        if run.finished:
            stored = run.result["archive"]
            was += f", {stored['title']}, split {stored['split']}"
        return [f"other images or labels ({was}; here {archive.fingerprint}, {archive.title})"]
    before_places, now_places = (_take(table, PLACE) for table in (before, now))
    _ = [_take(table, PART) for table in (before, now)]  # what changed of a split is told by it
    common = before.index.intersection(now.index)
    more, fewer = len(now) - len(common), len(before) - len(common)
    changed = (before[CONTENT][common] != now[CONTENT][common]).sum()
    counts = {"images more": more, "images fewer": fewer, "images changed": changed}
    if list(before) == list(now):
        counts["labels changed"] = (before.loc[common] != now.loc[common]).sum().sum() - changed
    found = [f"{count:,} {what}" for what, count in counts.items() if count]
    found = [words.replace("s ", " ", 1) if words.startswith("1 ") else words for words in found]
    if set(before) != set(now):
        found.append("other labels")
    elif list(before) != list(now):
        found.append("labels in another order")
    if not found and before_places != now_places:
        found.append("other places")
    return found or ["images read by another version"]


def _same_split(run: Run, stored: Mapping[str, str], source: Source) -> bool:
    if "split" in stored:
        return stored["split"] == source.identity["split"]
    # runs that are older than identities: the names of their queries
    return list(run.per_query.index) == [source.archive.names[i] for i in source.split.test]


def _stored_identity(run: Run) -> dict[str, str]:
    """`Run.identity`, completed for runs of versions that kept the fingerprint alone; weights
    that are not known are "?"."""
    identity = dict(run.identity)
    if identity and "weights" not in identity:
        config = run.config
        known = {"none": "none"} | store.former_weights()
        known["imagenet"] = weights_content(config.backbone, "imagenet")
        labels_alone = config.loss in LABELS_ALONE
        identity["weights"] = "" if labels_alone else known.get(config.weights, "?")
    return identity


def _but_stored(config: Config) -> str:
    for run_id in (config.run_id, *config.former_ids):
        run = Run(paths.runs_root() / run_id)
        if run.finished:
            return (
                f"\nA run of this configuration is there, {run.provenance}; but whether it is of "
                "your images and labels cannot be told without them. To look at it: `python -m "
                f"maclcore runs`, collect(), or Run.find({run_id!r})"
            )
    return ""


def _members(names: Sequence[str], split: Split) -> str:
    return digest([[names[i] for i in part] for part in split])
