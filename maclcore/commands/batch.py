"""`sweep`, `notebooks` and `claims`: many runs, and what is made of them."""

import time
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from maclcore.commands.shared import Profile, age
from maclcore.paths import figures_root, results_root


def sweep(
    experiments: Positional[tuple[str, ...]] = ("main_tables",),
    *,
    profile: Profile = "smoke",
    archive: tuple[str, ...] = ("synthetic",),
    seeds: tuple[int, ...] = (0,),
    weights: str | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    jobqueue: Literal["slurm", "pbs"] | None = None,
    retries: int = 1,
    budget: str | None = None,
    dry_run: bool = False,
) -> None:
    """Run what the store lacks of experiments, the tables and figures of the paper.

    The same command goes on where it was interrupted; a second one beside it shares the work. A run
    that fails holds nobody up: it is named at the end, and `runs` lists it as failed.
    Example: python -m maclcore sweep all --profile paper --archive dlrsd ml_aid --seeds 0 1 2
    Example: python -m maclcore sweep main_tables --workers 2 --budget 25m
    Example: python -m maclcore sweep main_tables alpha_beta --scheduler tcp://head:8786

    Args:
        experiments: main_tables (Tables 4-6), alpha_beta (Figure 9), temperature (Figure 10),
            learning_rate (Figure 11), pretraining (Table 7), alpha_sign, other_losses,
            soft_weight (of SoftCon), weak_labels, weak_network, calibration, chain (of AdaGC),
            winner_choice, winner, winner_stability (which loss to use); or all.
        profile: smoke, quick, frozen or paper.
        archive: one or several, each as for `train`.
        seeds: each with its own split.
        weights: overrides the profile's initial weights.
        workers: processes that share this machine's threads, or have a GPU each; 1: this one.
        scheduler: address of a Dask scheduler (extra `cluster`); the workers see results and
            archives where this machine does.
        jobqueue: start `workers` jobs through dask-jobqueue, set up by its own configuration file.
        retries: how often a run that failed is tried again.
        budget: such as 25m or 1h30m: one seed of everything first, and nothing is started that by
            the stored times does not fit.
        dry_run: list the runs, what each would cost and how that is known, and stop.
    """
    from maclcore.experiments.paper import EXPERIMENTS, experiment
    from maclcore.experiments.sweep import estimate, lacking
    from maclcore.experiments.sweep import sweep as run_sweep

    names = EXPERIMENTS if experiments == ("all",) else experiments
    makers = [experiment(name) for name in names]
    overrides = {} if weights is None else {"weights": weights}
    configs = [
        config
        for make in makers
        for place in archive
        for config in make(profile, place, seeds, **overrides)
    ]
    if dry_run:
        todo = lacking(configs)
        costs = estimate(todo)
        for config, (seconds, basis) in zip(todo, costs.to_numpy(), strict=True):
            cost = f"{age(seconds)}, {basis}" if seconds == seconds else basis
            print("to run", config.run_id, dict(config.loss_params) or "", f"({cost})")
        known = costs["seconds"].sum()
        unknown = f"; {costs['seconds'].isna().sum()} of them unknown" * costs["seconds"].hasnans
        print(f"{len(todo)} of {len(set(configs))} runs, some {age(known)} in all{unknown}")
        return
    rows = run_sweep(
        configs,
        workers=workers,
        scheduler=scheduler,
        jobqueue=jobqueue,
        retries=retries,
        budget=None if budget is None else _seconds(budget),
    )
    shown = ["loss", "loss_params", "seed", "mAP(sim)@5000", "mAP@0.8", "nDCG@100"]
    told = rows.reindex(columns=["completion", "test: macro mAP", "test: micro F1"])
    told = told.where(told != "none").dropna(axis=1, how="all")  # where labels are weak
    print(rows[shown].join(told).fillna("").to_string())


def notebooks(
    *,
    profile: Profile | None = None,
    archive: str | None = None,
    seeds: tuple[int, ...] = (),
    weights: str | None = None,
    only: tuple[str, ...] = (),
    jobs: int | None = None,
) -> None:
    """Run the numbered notebooks through papermill, in parallel where they are independent.

    By themselves they show the runs of record. With any of the first four options they show other
    runs, on one archive, which must be stored: `sweep` and notebook 04 compute them.
    Executed copies and log.txt land in results/executed/, figures in results/figures/. Where one
    fails, those that do not need it are still run.
    Example: python -m maclcore notebooks
    Example: python -m maclcore notebooks --profile quick --archive dlrsd --jobs 4

    Args:
        profile: smoke, quick, frozen or paper; if not given beside others, smoke.
        archive: as for `train`; if not given beside others, synthetic.
        seeds: each with its own split; if not given beside others, 0.
        weights: initial weights; if not given beside others, the profile's.
        only: numbers of the notebooks to run, such as 05 06.
        jobs: notebooks at a time; default: the number of cores.
    """
    from maclcore.experiments.notebooks import run as run_notebooks

    parameters: dict[str, Any] = {}
    if profile or archive or seeds or weights:
        parameters = {"profile": profile or "smoke", "archive": archive or "synthetic"}
        parameters |= {"weights": weights, "seeds": list(seeds or (0,))}  # a tuple would be text
    start = time.perf_counter()
    table = run_notebooks(parameters, only, jobs=jobs)
    failed = table.index[table["error"] != ""]
    print(f"\n{len(table)} notebooks, {table['figures'].sum()} figures, {len(failed)} failed")
    print(f"{time.perf_counter() - start:.0f} s; {table['seconds'].sum():.0f} s one by one")
    print(f"executed notebooks: {results_root() / 'executed'}")
    print(f"tables and runs:    {results_root()}\nfigures:            {figures_root()}")
    if len(failed):
        raise ChildProcessError(f"not done, see above or log.txt: {', '.join(failed)}")


def claims(*, measure: bool = False, output: Path | None = None) -> None:
    """Hold the paper's claims against its tables, labels and the stored runs: the ledger.

    Example: python -m maclcore claims --measure --output claims.csv

    Args:
        measure: first measure anew what needs the archives: the labels of dlrsd and ml_aid, and the
            stored runs on queries with rare labels. Takes minutes.
        output: the file to write; default: claims.csv in the results folder.
    """
    from maclcore.audit import evidence
    from maclcore.audit.claims import ledger
    from maclcore.store import write_csv

    if measure:
        evidence.measure()
    table = ledger()
    output = output or results_root() / "claims.csv"
    write_csv(output, table)
    print(table["verdict"].value_counts().to_string(header=False))
    print(output)


def _seconds(budget: str) -> float:
    import pandas as pd

    try:
        if budget[-1:].isdigit():  # which pandas takes for nanoseconds
            raise ValueError
        return pd.Timedelta(budget).total_seconds()
    except ValueError as error:
        raise ValueError(f"not a duration: {budget!r}; such as 90s, 25m, 1h30m or 2d") from error
