"""Run the configurations that the store lacks."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from operator import itemgetter
from typing import Any

import pandas as pd
import torch

from maclcore import paths, reads, store
from maclcore.config import LABELS, MAPPINGS, Config
from maclcore.evaluation.reference import REFERENCES
from maclcore.experiments.workers import BUSY, place
from maclcore.losses import entry
from maclcore.progress import Progress, countdown, say
from maclcore.store import Run, collect, identity

#: fields of Config that leave the time of a run nearly as it is
TIMELESS = {"loss", "loss_params", "split_seed", "seed", "lr", "weight_decay", "schedule"}
TIMELESS |= {"clip_norm", "momentum", "profile"}
#: all others, with their defaults, which are the values of runs that are older than a field
COSTLY = {f.name: f.default for f in fields(Config) if f.name not in TIMELESS}


def sweep(
    configs: Iterable[Config],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    jobqueue: str | None = None,
    retries: int = 1,
    budget: float | None = None,
    progress: bool | Callable[[int, int], object] = True,
) -> pd.DataFrame:
    """Train what is not finished; the rows of `collect()` for `configs`.

    Safe to interrupt and to repeat: a finished run is never computed twice, an interrupted one
    goes on from its checkpoint, and several sweeps on one store share the work (`Run.alone`).
    A run that fails is tried again `retries` times, after the others, and holds nobody up.

    workers: 1 trains in this process; more start so many processes, which share this one's threads
        or have a GPU each (a script calls this under `if __name__ == "__main__":` then).
    scheduler: address of a Dask scheduler whose workers see results and archives under the same
        paths as this process. A worker trains one run at a time, with the threads it was given;
        where workers announce the resource GPU, a run takes one.
    jobqueue: slurm or pbs: `workers` jobs by dask-jobqueue, whose own configuration file says what
        a job is.
    budget: seconds. Nothing is started that by `estimate` does not fit, and the rows are those of
        the runs that are finished then.
    progress: True for a bar or lines; a function is called with how many runs are done and of how
        many, at the start and after each, so that a notebook can show it its own way.

    Raises LookupError that names the runs that failed, when the others are finished; the tracebacks
    are in their failure.json. ConnectionError if the scheduler is lost.
    """
    sources, failed = identities(configs)
    total = len(sources) + len(failed)
    queue = deque((config, 0.0) for config in _lacking(sources))
    left_out, seconds_left = set(), countdown(budget)
    attempts = Counter()
    with (
        Progress("sweep", "runs", 0, len(queue), progress is True) as bar,
        place(min(workers, max(len(queue), 1)), scheduler, jobqueue) as at,
    ):
        report = progress if callable(progress) else lambda done, total: None
        report(bar.done, bar.total)
        while queue or at.flying:
            while queue and at.free() > 0:
                config, wait = queue.popleft()
                left = seconds_left()
                cost = 0.0 if budget is None else estimate([config])["seconds"].item()
                if left <= 0 or left < cost:  # of unknown cost, NaN: as long as there is time
                    left_out.add(config)
                else:
                    at.start(config, min(wait, left), sources[config].identity)
            for config, outcome in at.ended():
                if outcome is None:
                    bar.advance()
                    report(bar.done, bar.total)
                elif outcome == BUSY:  # the others first; then long enough to see it abandoned
                    queue.append((config, 1.5 * store.LEASE))
                else:
                    attempts[config] += 1
                    failed[config] = outcome.strip().splitlines()[-1]
                    run = identity.place(sources[config])
                    say(f"{run.run_id}: attempt {attempts[config]} failed: {failed[config]}")
                    with suppress(OSError):  # such as a full disk: it is named below in any case
                        run.failed(config, attempts[config], outcome)
                    if attempts[config] <= retries:
                        queue.append((config, 0.0))
    runs = {config: identity.place(source) for config, source in sources.items()}
    done = {config: run.run_id for config, run in runs.items() if run.finished}
    failed = {config: why for config, why in failed.items() if config not in done}
    if failed:
        alike: dict[str, list[str]] = {}  # one archive that is refused fails them all
        for config, why in failed.items():
            alike.setdefault(why, []).append(config.run_id)
        told = (
            f"{first}{f' and {len(more)} more' * bool(more)}: {why}"
            for why, (first, *more) in alike.items()
        )
        raise LookupError(
            f"{len(failed)} of {total} runs failed: {'; '.join(told)}"
            f". Tracebacks: failure.json in {paths.runs_root()}/<run>; repeat to try them again"
        )
    if left_out:
        say(f"{len(left_out)} of {total} runs do not fit into what is left of the budget")
    return collect().loc[list(done.values())]


def identities(
    configs: Iterable[Config],
) -> tuple[dict[Config, identity.Source], dict[Config, str]]:
    """What each configuration stands for now, and why of those of which that cannot be told.

    An archive is read once. The keys name folders and weights so that any process finds them.
    """
    sources, problems, archives = {}, {}, {}
    for config in dict.fromkeys(configs):
        key = (config.archive, config.image_size, config.bands, config.labels in LABELS)
        try:
            source = identity.identify(config, archive=archives.get(key))
        except (ValueError, OSError) as error:
            problems[config] = str(error)
            continue
        archives[key] = source.archive
        sources[source.config] = source
    return sources, problems


def lacking(configs: Iterable[Config]) -> list[Config]:
    """Those that the store lacks, so that every setting gets one seed before any gets another."""
    sources, problems = identities(configs)
    return _lacking(sources) + list(problems)


def _lacking(sources: Mapping[Config, identity.Source]) -> list[Config]:
    done = {config: identity.place(source).finished for config, source in sources.items()}
    seeds, ranked = Counter(), []  # seeds: of a setting, finished ones first
    for config in sorted(sources, key=lambda config: not done[config]):
        setting = config.but(seed=0, split_seed=0)
        if not done[config]:
            ranked.append((seeds[setting], config))
        seeds[setting] += 1
    return [config for _, config in sorted(ranked, key=itemgetter(0))]


def estimate(configs: Iterable[Config]) -> pd.DataFrame:
    """How long runs will take, by those in the store: one row each, by run_id.

    `seconds`, NaN if the store has nothing to compare with. `basis`: the median of runs on this
    hardware that are alike in all that costs time, or else what is stored (of this hardware, if
    there is any), scaled by training images × epochs × pixels.
    """
    configs, rows = list(configs), collect()
    if not rows.empty:
        kind, *_ = zip(*(key := [_alike(row) for row in rows.to_dict("records")]), strict=True)
        images = rows["archive: split"].str.split("/").str[0].astype(float)
        rows = rows.assign(key=key, kind=kind, images=images, here=rows["device"] == _hardware())
        rows["whole"] = images / rows["train_share"]
        work = images * rows["epochs"].where(rows["kind"].str.startswith("training"), 1)
        rows["rate"] = rows["seconds"] / (work * rows["image_size"] ** 2)
    found = [_estimate(config, rows) for config in configs]
    index = pd.Index([config.run_id for config in configs], name="run_id")
    return pd.DataFrame(found, columns=["seconds", "basis"], index=index)


def _estimate(config: Config, rows: pd.DataFrame) -> tuple[float, str]:
    if rows.empty:
        return float("nan"), "nothing is stored"
    key = _alike(vars(config))
    alike = rows[rows["here"] & (rows["key"] == key)]
    if len(alike):
        return alike["seconds"].median(), f"median of {len(alike)} alike"
    kin = rows[rows["kind"] == key[0]]
    if kin.empty:
        return float("nan"), "nothing of its kind is stored"
    kin, where = (kin[kin["here"]], "here") if kin["here"].any() else (kin, "on other hardware")
    images = rows["whole"][rows["archive"] == config.archive]
    size = (rows["whole"] if images.empty else images).median()  # unknown: as others have
    size *= config.train_share
    epochs = config.epochs if key[0].startswith("training") else 1
    seconds = kin["rate"].median() * size * epochs * config.image_size**2
    return seconds, f"scaled from {len(kin)} {where}"


def _alike(config: Mapping[str, Any]) -> tuple:
    """What a run's time depends on; first its kind: training and its method, or the name of a
    reference row, and whether it works on stored features, which is another order of time."""
    loss = config["loss"]
    kind = loss if loss in REFERENCES else f"training, {entry(loss).method}"
    kind += " of the head" if (config.get("frozen_views") or 0) > 0 else ""
    for name in MAPPINGS:
        if isinstance(settings := config.get(name), Mapping):  # else as a table has it
            config = {**config, name: json.dumps(settings)}
    given = ((config.get(name), default) for name, default in COSTLY.items())
    return (kind, *(default if pd.isna(value) else value for value, default in given))


def _hardware() -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return store.environment(device, "")["device"]


def stored(configs: Iterable[Config]) -> pd.DataFrame:
    """The rows of `collect()` for `configs`, in their order; LookupError if any is missing.

    Where runs from several contents are stored: those of the archive at hand (`identity.chosen`).
    """
    configs, rows = list(dict.fromkeys(configs)), collect()
    found = identity.chosen(configs, rows)
    missing = [c.run_id for c, run_id in zip(configs, found, strict=True) if run_id is None]
    if missing:
        raise LookupError(
            f"{len(missing)} of {len(configs)} runs are not in the store, such as {missing[0]}; "
            "notebook 04 or `python -m maclcore sweep` computes them"
        )
    reads.note(found)
    return rows.loc[found]


def finished(config: Config) -> Run:
    """The stored run of `config`; LookupError if it has not been computed."""
    return Run.find(stored([config]).index[0])
