"""The forces of MACL on pairs of the real archives, kept in `results/forces.csv`: label sets are
the archives' own, and what follows from them may be passed on."""

import pandas as pd
import torch

from maclcore import paths
from maclcore.config import Config
from maclcore.data import Archive, load_archive
from maclcore.data.sampler import shuffled
from maclcore.labels import LabelStatistics
from maclcore.losses.forces import pair_forces
from maclcore.store import write_csv

ARCHIVES = ("dlrsd", "ucm_multilabel", "ml_aid")
ALPHAS = [step / 4 for step in range(-6, 11)]  #: -1.5 to 2.5
LEVELS = [step / 4 for step in range(5)]  #: 0 to 1
BATCH = Config().batch_size


def archive_forces(archive: Archive) -> pd.DataFrame:
    """`pair_forces` over the batches of the first epoch of seed 0, in float64."""
    y = torch.from_numpy(archive.labels[archive.split(0).train])
    stats = LabelStatistics.from_labels(y, archive.label_names)
    batches = y[shuffled(len(y), BATCH, seed=0, epoch=0)]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return pair_forces(batches, stats, ALPHAS, LEVELS)
    finally:
        torch.set_default_dtype(default)


def stored_forces() -> pd.DataFrame:
    """Those of `ARCHIVES` as they come with the repository: `archive`, and the columns of
    `pair_forces`."""
    return pd.read_csv(paths.ROOT / "results" / "forces.csv")


def measure() -> None:
    """Write `results/forces.csv` anew; a minute. ArchiveError if one of `ARCHIVES` is not there."""
    tables = [
        archive_forces(load_archive(name, image_size=64, progress=False)).assign(archive=name)
        for name in ARCHIVES
    ]
    table = pd.concat(tables).set_index("archive").reset_index()
    write_csv(paths.ROOT / "results" / "forces.csv", table)
