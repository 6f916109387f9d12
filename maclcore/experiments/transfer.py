"""Probes of a stored run: what labels its frozen features tell, or the network trained on.

What a probe has said is kept beside the run (`Run.transfer`) and not computed twice.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sklearn
import torch

from maclcore import paths, store
from maclcore.config import Config
from maclcore.data.stream import Images
from maclcore.evaluation.classification import is_single_label
from maclcore.evaluation.reference import LABELS_ALONE
from maclcore.evaluation.transfer import Probe, knn, linear_probe, measured, prevalence
from maclcore.models.network import RetrievalNet
from maclcore.store import Run
from maclcore.store.identity import Source, check, check_unseen, identify
from maclcore.training import checkpoint, distributed, load_model
from maclcore.training.finetune import FineTune
from maclcore.training.inputs import Pixels, precision
from maclcore.training.loop import Loop
from maclcore.training.retrieval import network

PROBES = ("linear", "knn", "finetune")
#: of fine-tuning: few epochs at a low rate, on one cosine, so that features are kept where they
#: serve; SSL4EO-S12's scripts take SGD at 0.01 to 0.1, this package's loop has Adam
EPOCHS, LR = 10, 1e-4


def transfer(
    run: Run,
    probe: str,
    *,
    archive: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    again: bool = False,
    device: str | None = None,
    progress: bool = True,
) -> tuple[dict[str, Any], bool]:
    """What a probe says of a finished run, and whether that was computed now or found stored.

    It is fitted on the training part, chosen on the validation part and measured on the test part
    of the run's archive, or of another one, of whose last two parts the run must have seen no
    image. `epochs` and `lr` are those of fine-tuning, by default `EPOCHS` and `LR`; it resumes
    where it was interrupted.
    scores        of the test part, as `classification_scores` names them
    intervals     low and high of each, over test images
    choice        what was chosen, and by which scores on validation
    protocol      what was done, in words
    left out      images and labels of the test part that are in no score, or in no macro mean
    references    the same of chance and, of frozen features, of the network as it started (what
                  fine-tuning makes of that, the run of the loss `frozen` tells)
    of            hashes of archive and split, and the settings
    archive, environment, time, seconds   as in `Run.result`

    ValueError for a run that is not finished or has no network, for an archive that is not as it
    was, for seen images, and where the same probe is stored `of` something else, unless it is to be
    computed `again`, which replaces it. FileNotFoundError for weights that are not here.
    """
    if probe not in PROBES:
        raise ValueError(f"probe is one of {', '.join(PROBES)}, not {probe!r}")
    _ = run.result  # ValueError if it is not finished
    settings = {"epochs": epochs, "lr": lr}
    settings = {key: value for key, value in settings.items() if value is not None}
    if settings and probe != "finetune":
        raise ValueError(f"{' and '.join(settings)} are settings of the probe finetune alone")
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if run.config.loss in LABELS_ALONE:
        raise ValueError(f"{run.run_id} has no network, and so no features to probe")
    source = identify(run.config if archive is None else _on(run.config, archive))
    if archive is None:
        check(run, source)
    # all runs are probed alike, whatever their training saw
    source = replace(source, weak=None)
    own = source.identity["archive"] == run.identity["archive"]
    check_unseen(run, source.archive, [*source.split.validation, *source.split.test])
    name = probe if own else f"{probe} on {source.archive.name}"
    asked = {part: source.identity[part] for part in ("archive", "split")} | settings
    of = ({"epochs": EPOCHS, "lr": LR} if probe == "finetune" else {}) | asked
    if not again and (stored := _stored(run, name, asked)):
        return stored, False
    with distributed.processes(device) as on, torch.random.fork_rng():
        if distributed.world()[1] > 1:
            raise ValueError("a probe is computed by one process: start it without torchrun")
        if probe != "finetune":
            said = _frozen(run, source, probe, on)
            run.keep_transfer(name, {**said, "of": of})
            return run.transfer[name], True
        folder = f"{name.replace(' ', '-')}-{of['epochs']}-{of['lr']:g}"
        at = Run(paths.results_root() / "transfer" / run.run_id / folder)
        with at.alone():
            if not again and (stored := _stored(run, name, asked)):  # by who was at it
                return stored, False
            try:
                said = _finetuned(run, source, at, of, on, progress)
            except BaseException:
                at.tidy()
                raise
            run.keep_transfer(name, {**said, "of": of})
            checkpoint.remove(at.folder)
        return run.transfer[name], True


def _on(config: Config, archive: str) -> Config:
    """A configuration on another archive, all of whose labels are known."""
    given = {"labels": "complete", "completion": "none", "completion_params": {}}
    return config.but(archive=archive, split="random", train_share=1.0, **given)


def _stored(run: Run, name: str, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a probe has said, if it has; ValueError if it was asked something else then."""
    said = run.transfer.get(name)
    if said is not None and said["of"] != {**said["of"], **asked}:
        differ = [f"{k} {v}, not {asked[k]}" for k, v in said["of"].items() if v != asked.get(k, v)]
        raise ValueError(
            f"{run.run_id} has {name!r} stored, but of {' and '.join(differ)}: --again computes it "
            "from what is asked for now, and replaces it"
        )
    return said


def _frozen(run: Run, source: Source, probe: str, on: torch.device) -> dict[str, Any]:
    """A probe of the run's features, beside chance and the network as it started."""
    start = time.perf_counter()
    found = _probe(_network(run, source, on), source, probe, on)
    references = {"chance": _chance(source)}
    if run.config.loss != "frozen" and not run.config.frozen_views:  # whose features are those
        references["initial"] = _probe(_initial(source, on), source, probe, on)
    return _entry(found, references, source, on, start)


def _finetuned(
    run: Run,
    source: Source,
    at: Run,
    of: Mapping[str, Any],
    on: torch.device,
    progress: bool,
) -> dict[str, Any]:
    """A training from the run's weights, in the folder of `at`; goes on from a checkpoint there."""
    earlier = sum(row["seconds"] for row in store.log(at.folder)) if at.saved else 0
    start = time.perf_counter() - earlier
    config = source.config.but(
        epochs=of["epochs"], lr=of["lr"], schedule="cosine", sampler="shuffle", frozen_views=0
    )
    method = FineTune(replace(source, config=config), _network(run, source, on), on)
    Loop(method, at.folder, on, f"{run.run_id} {dict(of)}").fit(progress)
    predicted = method.outcome().tensors["predictions"]["predicted"].numpy()
    labels = source.archive.labels
    protocol = (
        f"all of the network trained on {len(method.y_train)} training images for "
        f"{config.epochs} epochs, Adam at {config.lr:g}, one cosine, batches of "
        f"{config.batch_size}; the last epoch counts, nothing chosen"
    )
    choice = {"epochs": config.epochs, "lr": config.lr}
    single, y_test = is_single_label(labels), labels[source.split.test]
    found = measured(predicted, y_test, protocol, choice, single)
    return _entry(found, {"chance": _chance(source)}, source, on, start)


def _chance(source: Source) -> Probe:
    labels = source.archive.labels
    return prevalence(labels[source.split.train], labels[source.split.test])


def _network(run: Run, source: Source, on: torch.device) -> RetrievalNet:
    return _initial(source, on) if run.config.loss == "frozen" else load_model(run)


def _initial(source: Source, on: torch.device) -> RetrievalNet:
    """The network as its configuration starts it."""
    return network(replace(source, config=source.config.but(frozen_views=0)), on, False)[0]


def _probe(model: RetrievalNet, source: Source, probe: str, on: torch.device) -> Probe:
    archive = source.archive
    model = model.to(on, memory_format=torch.channels_last)
    inputs = Pixels(Images(archive.images, on), source, on)
    train, validation, test = (
        (inputs.embed(model, index)[1].numpy(), archive.labels[index]) for index in source.split
    )
    if probe == "knn":
        return knn(*train, *test)
    return linear_probe(*train, *test, h_validation=validation[0], y_validation=validation[1])


def _entry(
    found: Probe, references: Mapping[str, Probe], source: Source, on: torch.device, start: float
) -> dict[str, Any]:
    """What is stored, but for what it is of."""
    archive, hardware = source.archive, store.environment(on, precision(source.config, on))
    return {
        **_said(found),
        "left out": found.left_out,
        "references": {name: _said(reference) for name, reference in references.items()},
        "archive": {
            "title": archive.title,
            "footnote": archive.footnote,
            "split": "/".join(str(len(part)) for part in source.split),
        },
        "environment": {**hardware, "scikit-learn": sklearn.__version__},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _said(probe: Probe) -> dict[str, Any]:
    return {
        "scores": probe.scores,
        "intervals": {name: list(ends) for name, ends in probe.intervals.items()},
        "choice": probe.choice,
        "protocol": probe.protocol,
    }
