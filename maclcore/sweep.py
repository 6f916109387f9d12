"""Run the configurations that the store lacks."""

from collections.abc import Iterable

import pandas as pd
from tqdm.auto import tqdm

from maclcore.config import Config
from maclcore.store import Run, collect
from maclcore.train import train


def sweep(configs: Iterable[Config], *, progress: bool = True) -> pd.DataFrame:
    """Train what is not finished, one after the other; the rows of `collect()` for `configs`.

    Safe to interrupt and to repeat: a finished run is never computed twice.
    """
    configs = list(dict.fromkeys(configs))
    bar = tqdm(configs, desc="runs", unit="run", disable=None if progress else True)
    for config in bar:
        train(config, progress=False)
    return stored(configs)


def stored(configs: Iterable[Config]) -> pd.DataFrame:
    """The rows of `collect()` for `configs`, in their order; LookupError if any is missing."""
    wanted = list(dict.fromkeys(config.run_id for config in configs))
    rows = collect()
    missing = [run_id for run_id in wanted if run_id not in rows.index]
    if missing:
        raise LookupError(
            f"{len(missing)} of {len(wanted)} runs are not in the store, such as {missing[0]}; "
            "notebook 04 or `python -m maclcore sweep` computes them"
        )
    return rows.loc[wanted]


def finished(config: Config) -> Run:
    """The stored run of `config`; ValueError if it has not been computed."""
    return Run.find(config.run_id)
