"""`evaluate`: how good a run is, or vectors that others have made, between chance and oracle."""

import sys
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from maclcore.commands.shared import archive_of, print_metrics, use


def evaluate(
    run: Positional[str | None] = None,
    labels: Positional[Path | None] = None,
    *,
    archive: str | None = None,
    split: Literal["test", "validation", "train", "all"] = "test",
    labels_only: Path | None = None,
    query: Path | None = None,
    gallery: tuple[Path, Path] | None = None,
    probe: Literal["linear", "knn", "finetune"] | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    again: bool = False,
    device: str | None = None,
    quiet: bool = False,
    data: Path | None = None,
) -> None:
    """Evaluate a finished run between chance and oracle, on any split or another archive.

    Or say what labels its features tell, by a probe that is fitted on the training split, chosen on
    the validation split and measured on the test split, between chance and the network as it
    started; what it says is stored with the run and shown again without computing. Or say between
    what any run on a label table must lie, before there is one. Or evaluate the vectors of any
    network: a file of them, and a table of labels in which each image has a row.
    Example: python -m maclcore evaluate RUN_ID --split validation
    Example: python -m maclcore evaluate RUN_ID --probe linear
    Example: python -m maclcore evaluate RUN_ID --probe knn --archive ucm_multilabel
    Example: python -m maclcore evaluate RUN_ID --probe finetune --epochs 20 --lr 3e-4
    Example: python -m maclcore evaluate --labels-only my.csv
    Example: python -m maclcore evaluate vectors.parquet labels.csv --query names_of_queries.txt

    Args:
        run: a run's id, as `train` prints it; or a file of vectors: Parquet with a column of names
            and one of lists of floats (or one of numbers for each value), CSV with names first and
            then numbers, npz.
        labels: of a file of vectors the table of labels, as `labels.csv` of an archive.
        archive: evaluate on this archive, of which test and validation must hold no image that the
            run was trained on; default: the one it was trained on, which must be as it was.
        split: which part; each image once as query, the others as gallery.
        labels_only: a table, one row an image: its name, then 0 or 1 for each label. No run then.
        query: of vectors: names, one a line, of those that are queries, the others are the gallery;
            default: each is a query to the others.
        gallery: of vectors: those of the gallery and their labels, instead of others of one file.
        probe: linear: a logistic regression a label on frozen features; knn: the 20 nearest
            training images by their cosine; finetune: all of the network, with a linear layer on
            its features, goes on from the run's weights (of `--loss frozen` those that all start
            from), and resumes if it was interrupted. mAP, F1 and, where each image has one label,
            accuracy, in percent with 95 % intervals over test images.
        epochs: of fine-tuning; default: 10.
        lr: of fine-tuning, of Adam at the start of one cosine; default: 1e-4.
        again: compute a probe that is stored once more, and replace it.
        device: of a probe: cpu, cuda, cuda:1, …; default: a GPU if there is one.
        quiet: no progress bar of fine-tuning.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    if labels is not None and run is not None:
        if any((archive, labels_only, probe)) or split != "test":
            raise ValueError("vectors are evaluated as they are: no --archive, --split or --probe")
        return _vectors(Path(run), labels, query, gallery)
    if query is not None or gallery is not None:
        raise ValueError("--query and --gallery are of vectors: give their file and their labels")
    if run is not None and Path(run).suffix.lower() in (".parquet", ".csv", ".npz"):
        raise ValueError(f"{run} is a file of vectors: give the table of their labels, too")
    if (run is None) == (labels_only is None):
        raise ValueError("give either a run's id or --labels-only with a table")
    if labels_only is not None:
        if archive is not None or split != "test":
            raise ValueError("--labels-only takes all rows of its table: no --archive, no --split")
        _frame(labels_only)
    elif run is not None and probe is not None:
        if split != "test":
            raise ValueError("--probe measures on the test split: no --split")
        use(data)
        words = {"archive": archive, "epochs": epochs, "lr": lr, "again": again, "device": device}
        _probe(run, probe, {**words, "progress": not quiet})
    elif run is not None:
        _evaluate(run, archive, split, data)


def _evaluate(run: str, archive: str | None, split: str, data: Path | None) -> None:
    """Print the metrics of a run on a part of an archive, between chance and oracle."""
    import numpy as np
    import torch

    from maclcore.evaluation import reference
    from maclcore.evaluation.embedding import embed
    from maclcore.evaluation.retrieval import evaluate as measure
    from maclcore.store import Run
    from maclcore.store.identity import check_unseen
    from maclcore.training import load_model
    from maclcore.training.inputs import precision

    found = Run.find(run)
    config = found.config
    source = archive_of(found, archive, data)
    model = load_model(found)
    official = archive is None and config.split == "official"
    share = config.train_share if archive is None else 1.0
    parts = source.split(config.split_seed, official=official, share=share)._asdict()
    index = np.arange(len(source.images)) if split == "all" else parts[split]
    if split in ("test", "validation"):
        check_unseen(found, source, index)
    on = torch.device("cpu")
    z, h = embed(model, source.images, index, device=on, precision=precision(config, on))
    if config.frozen_views:  # its head saw stored features, and was measured on them, in float32
        with torch.inference_mode():
            z = model.project(h)
    y = source.labels[index]
    print(f"{source.title}, {split}: {len(index)} queries, each against the others")
    print_metrics(
        {
            "chance": reference.chance(y).summary(),
            config.loss: measure(z, y).summary(),
            "  backbone": measure(h, y).summary(),
            "oracle": reference.oracle(y).summary(),
        }
    )


def _probe(run: str, probe: str, words: dict[str, Any]) -> None:
    """Print what a probe says of a run, between chance and the network as it started."""
    import pandas as pd

    from maclcore.experiments.transfer import transfer
    from maclcore.store import Run

    found = Run.find(run)
    said, computed = transfer(found, probe, **words)
    if not computed:
        print(f"stored on {said['time'][:10]}; --again computes it once more", file=sys.stderr)
    archive = said["archive"]
    print(f"{archive['title']}, {archive['split']} images to fit, choose and measure: {probe}")
    print(said["protocol"])
    for name, value in said["choice"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{100 * score:.2f} at {one}" for one, score in value.items())
        print(f"{name}: {value}")
    rows = {**said["references"], found.config.loss: said}
    cells = {
        name: {
            score: f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
            for score, value in row["scores"].items()
            for low, high in [row["intervals"][score]]
        }
        for name, row in rows.items()
    }
    print(pd.DataFrame(cells).T.to_string())
    for what, without in (("images", "label"), ("labels", "image")):
        if number := said["left out"][what]:
            print(f"left out, of the test part's {what} those without any {without}: {number:,}")


def _frame(table: Path) -> None:
    """Print floor and ceiling of every metric, from the labels of a table."""
    from maclcore.data import read_labels
    from maclcore.evaluation.reference import chance, oracle
    from maclcore.evaluation.retrieval import Evaluation

    y, label_names = read_labels(table)
    print(f"{table.name}: {len(y):,} images, {len(label_names)} labels; each a query to the others")
    rows: dict[str, Evaluation] = {"chance": chance(y)}
    rows |= {f"oracle, {by}": oracle(y, by=by, ties="average") for by in ("jaccard", "shared")}
    print_metrics({name: row.summary() for name, row in rows.items()})
    print("ceilings: the higher oracle; wAP has none")


def _vectors(
    file: Path, table: Path, query: Path | None, gallery: tuple[Path, Path] | None
) -> None:
    """Print the metrics of vectors that somebody has computed, between chance and oracle."""
    from maclcore.data.vectors import query_and_gallery
    from maclcore.evaluation import reference
    from maclcore.evaluation.retrieval import evaluate as measure

    sets, said = query_and_gallery(file, table, query, gallery)
    print(*said, sep="\n")
    print_metrics(
        {
            "chance": reference.chance(sets.y_query, sets.y_gallery).summary(),
            file.stem: measure(*sets).summary(),
            "oracle": reference.oracle(sets.y_query, sets.y_gallery).summary(),
        }
    )
