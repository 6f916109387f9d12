"""From a configuration to a stored run: found, or trained by its method and evaluated."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch

from maclcore import paths, store
from maclcore.config import Config, nearest
from maclcore.data.archives import RGB
from maclcore.evaluation.classification import classification_scores
from maclcore.evaluation.reference import LABELS_ALONE, REFERENCES
from maclcore.evaluation.retrieval import evaluate
from maclcore.losses import entry
from maclcore.progress import say
from maclcore.store import Run
from maclcore.store.identity import Source, claim, identify, remember, told
from maclcore.training import checkpoint, completion, distributed
from maclcore.training.card import CARD, card
from maclcore.training.loop import Loop, Method, Outcome, environment
from maclcore.training.retrieval import Retrieval, network
from maclcore.training.softcon import SoftCon
from maclcore.training.weak import Weak

#: the ways of training; a loss's entry in the registry names the one that it has
METHODS: dict[str, Callable[..., Method]] = {
    "retrieval": Retrieval,
    "softcon": SoftCon,
    "weak": Weak,
}


def train(
    config: Config,
    *,
    progress: bool = True,
    device: str | None = None,
    wait: float = -1,
    expected: Mapping[str, str] | None = None,
) -> Run:
    """Train, evaluate on the test split, store; resume if it was interrupted, return if done.

    A run belongs to its configuration and to the content of the archive, the split and the initial
    weights (`maclcore.store.identity`): one that is stored from other content is neither returned
    nor touched, and what differs is said. `Run.computed` tells whether this call has computed it.
    A reference row (chance, frozen, oracle) is a run like any other, without the training.
    Started by torchrun, the processes share each batch, with one loss over all of it
    (`maclcore.training.distributed`); the first one writes. BatchNorm then sees a process's part of
    the batch, on GPUs the whole; without it results agree with one process's to rounding.

    SIGTERM lets the step under way finish and exits with 0. Raises ValueError for an unknown loss,
    backbone or archive, and for content that is not the `expected` identity or not that of the
    other processes; OSError where nothing can be written; and FloatingPointError, naming the
    images of the batch, if a loss is not finite. Each time the last checkpoint stays, and the same
    call goes on from there. Where another process is at the same run, waits for it, at most for
    `wait` seconds (-1: as long as it takes) before it raises filelock.Timeout.
    """
    with distributed.processes(device) as on:
        first = distributed.world()[0] == 0
        source = identify(config, progress=progress and first)
        if first:
            remember(source.archive)
        expected = distributed.of_first(expected or source.identity)
        if source.identity != expected:
            raise ValueError(
                f"{config.archive} or {config.weights} is not the same here as where this run was "
                f"started: {source.identity} for {expected}; give all machines the same files"
            )
        with claim(source, wait) if first else nullcontext() as run:
            run = Run(paths.runs_root() / distributed.of_first(run.run_id if first else ""))
            if first and "@" in run.run_id and not run.finished:
                say(told(run, source))
            if distributed.of_first(run.finished):  # by now, or by the process that we waited for
                if progress and first:
                    say(run.provenance)
                return run
            compute(source, run, on, progress and first)
            distributed.of_first(True)  # wait for what the first one writes
    return replace(run, computed=True)


def compute(source: Source, run: Run, on: torch.device, progress: bool) -> None:
    """Train and evaluate `source` into the folder of `run`, from its checkpoint if it has one."""
    first = distributed.world()[0] == 0
    config, archive, split = source.config, source.archive, source.split
    start, earlier = time.perf_counter(), sum(row["seconds"] for row in store.log(run.folder))
    said: dict[str, Any] = {}
    if config.completion != "none" and config.loss not in REFERENCES:
        source, said = completion.complete(source, on, progress)
    outcome = _outcome(source, run, on, progress)
    if not first:
        return
    queries = [archive.names[i] for i in split.test]
    table = outcome.embedding.per_query.set_axis(queries).rename_axis("query")
    store.write_table(run.folder / "per_query.parquet", table)
    scores = {}
    if outcome.predicted is not None:
        table = pd.DataFrame(outcome.predicted, queries, archive.label_names)
        store.write_table(run.folder / store.PREDICTIONS, table.rename_axis("image"))
        scores = classification_scores(outcome.predicted, archive.labels[split.test])
    for name, content in outcome.tensors.items():
        store.write_tensors(run.folder / f"{name}.safetensors", content, source.identity)
    hardware = environment(config, on)
    result = {
        "config": config.to_dict(),
        "loss": {**entry(config.loss).defaults, **config.loss_params}
        if config.loss not in REFERENCES
        else {},
        **({"method": settings} if (settings := method_settings(config)) else {}),
        "metrics": outcome.embedding.summary(),
        "metrics_backbone": outcome.backbone.summary() if outcome.backbone else {},
        **({"scores": scores} if scores else {}),
        **({"completion": said} if said else {}),
        "queries": len(split.test),
        "protocol": "test split, each image once as query, the others as gallery; cosine"
        + "; only the head trained" * bool(config.frozen_views),
        "archive": {
            "title": archive.title,
            "footnote": archive.footnote,
            "fingerprint": archive.fingerprint,
            "split": "/".join(str(len(part)) for part in split),
            **({"bands": ",".join(archive.bands)} if archive.bands != RGB else {}),
        },
        "identity": source.identity,
        "environment": hardware,
        **({"sessions": sessions} if (sessions := _sessions(run, hardware)) else {}),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(earlier + time.perf_counter() - start, 1),
    }
    if "weights" in outcome.tensors:
        text = card(run.run_id, config, archive.labels[split.test], result)
        store.write_text(run.folder / CARD, text)
    store.write_json(run.folder / store.RESULT, result)
    checkpoint.remove(run.folder)


def _sessions(run: Run, hardware: dict[str, Any]) -> list[dict[str, Any]]:
    """Versions and hardware of each process that trained a part of `run`, if they differ."""
    sessions = [row["session"] for row in store.log(run.folder) if "session" in row]
    return sessions if any(s != {"epoch": s["epoch"], **hardware} for s in sessions) else []


def _outcome(source: Source, run: Run, on: torch.device, progress: bool) -> Outcome | None:
    """What comes of `source`; None in all processes but the first, which measures."""
    config, first = source.config, distributed.world()[0] == 0
    y_test = source.archive.labels[source.split.test]
    if config.loss in LABELS_ALONE:
        return Outcome(LABELS_ALONE[config.loss](y_test))
    if config.loss == "frozen":  # an untrained head says nothing
        model, inputs = network(source, on, progress)
        _, h = inputs.embed(model, source.split.test)
        return Outcome(evaluate(h, y_test), tensors={"embeddings": {"z": h}})
    method = METHODS[entry(config.loss).method](source, on, progress, **method_settings(config))
    Loop(method, run.folder, on, f"{config.run_id}@{source.key}").fit(progress)
    return method.outcome() if first else None


def method_settings(config: Config) -> dict[str, Any]:
    """The settings of a configuration's way of training, defaults included.

    TypeError, naming the nearest one, for a setting that the method does not have.
    """
    if config.loss in REFERENCES:
        return {}
    name = entry(config.loss).method
    known = METHODS[name].__init__.__kwdefaults__ or {}
    for key in config.method_params.keys() - known.keys():
        has = nearest(key, known) if known else "; it has none"
        raise TypeError(f"{config.loss} is trained by {name}, without a setting {key!r}{has}")
    return {**known, **config.method_params}
