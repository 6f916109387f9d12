"""`train` and `evaluate`: one run, and how good it is."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from maclcore.commands.shared import archive_of, print_metrics, use
from maclcore.config import PROFILES, Config


def train(
    config: Config, *, device: str | None = None, quiet: bool = False, tensorboard: bool = False
) -> None:
    """Train one configuration, evaluate it on the test split and store the run.

    The same command resumes an interrupted run, and shows a finished one of the same images, labels
    and weights; of others it is another run.
    Example: python -m maclcore train --profile quick --archive dlrsd --loss macl
    --loss-params temperature 0.3
    Example: torchrun --nproc-per-node 4 -m maclcore train --archive dlrsd
    Example: python -m maclcore train --profile quick --archive dlrsd --loss softcon
    --loss-params soft_weight 10
    Example: python -m maclcore train --archive synthetic_sentinel --bands s2 --loss softcon
    --backbone timm/vit_tiny_patch16_224:depth=6,patch_size=4 --method-params mask_ratio 0.5
    Example: python -m maclcore train --archive dlrsd --labels random --loss gc --frozen-views 4
    Example: python -m maclcore train --archive ~/photos --labels labels.completed.csv
    Example: python -m maclcore train --archive ml_aid --split official --labels random
    --completion gc --completion-params labels_per_image 5

    Args:
        config: the run; --profile sets the defaults of the other fields.
        device: cpu, cuda, cuda:1, …; default: a GPU if there is one.
        quiet: no progress bar.
        tensorboard: also write the log as events into the run's folder, for `tensorboard --logdir`;
            MACL_TENSORBOARD=1 does the same for any command.
    """
    from maclcore.training import train as run_training

    if tensorboard:
        os.environ["MACL_TENSORBOARD"] = "1"
    run = run_training(config, progress=not quiet, device=device)
    if int(os.environ.get("RANK", 0)):  # one of several processes says it for all
        return
    if quiet and not run.computed:  # else it has been said
        print(run.provenance, file=sys.stderr)
    if scores := run.result.get("scores"):  # of a training that tells labels
        print_metrics({config.loss: scores})
    print_metrics({config.loss: run.metrics, "  backbone": run.result["metrics_backbone"]})
    print(run.run_id)


def train_with_profile(arguments: list[str]) -> Callable[..., None]:
    """`train` whose defaults are those of the profile that the command line names."""
    profile = "smoke"
    for word, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--profile" and value in PROFILES:
            profile = value
        elif word.startswith("--profile="):
            profile = word.split("=", 1)[1]
    default = Config.from_profile(profile)

    def train_verb(
        config: Annotated[Config, tyro.conf.arg(name="")] = default,
        *,
        data: Path | None = None,
        device: str | None = None,
        quiet: bool = False,
        tensorboard: bool = False,
    ) -> None:
        use(data)
        train(config, device=device, quiet=quiet, tensorboard=tensorboard)

    train_verb.__doc__ = train.__doc__
    return train_verb


def evaluate(
    run: Positional[str | None] = None,
    *,
    archive: str | None = None,
    split: Literal["test", "validation", "train", "all"] = "test",
    labels_only: Path | None = None,
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
    what any run on a label table must lie, before there is one.
    Example: python -m maclcore evaluate RUN_ID --split validation
    Example: python -m maclcore evaluate RUN_ID --probe linear
    Example: python -m maclcore evaluate RUN_ID --probe knn --archive ucm_multilabel
    Example: python -m maclcore evaluate RUN_ID --probe finetune --epochs 20 --lr 3e-4
    Example: python -m maclcore evaluate --labels-only my.csv

    Args:
        run: a run's id, as `train` prints it.
        archive: evaluate on this archive, of which test and validation must hold no image that the
            run was trained on; default: the one it was trained on, which must be as it was.
        split: which part; each image once as query, the others as gallery.
        labels_only: a table, one row an image: its name, then 0 or 1 for each label. No run then.
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
    parts = source.split(config.split_seed, official=official)._asdict()
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
