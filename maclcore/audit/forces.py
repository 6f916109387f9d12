"""The forces of MACL on pairs of the real archives, kept in `results/forces.csv`, and of some
other losses, in `results/band_forces.csv`: label sets are the archives' own, and what follows from
them may be passed on."""

from collections.abc import Callable

import pandas as pd
import torch

from maclcore import paths
from maclcore.config import Config
from maclcore.data import Archive, load_archive
from maclcore.data.sampler import shuffled
from maclcore.experiments.winner import ARCHIVES
from maclcore.labels import LabelStatistics
from maclcore.losses.forces import band_forces, pair_forces
from maclcore.store import write_csv

ALPHAS = [step / 4 for step in range(-6, 11)]  #: -1.5 to 2.5
LEVELS = [step / 4 for step in range(5)]  #: 0 to 1
BATCH = Config().batch_size
#: other losses than MACL, with what they have other than their defaults; of those in `four_parts`
#: LProto is not among them: it draws images to prototypes, and puts no force between two images
OTHERS: dict[str, dict[str, float]] = {
    "mulsupcon": {}, "lmsc": {}, "oml": {}, "graded": {"temperature": 0.3}, "hap": {},
}  # fmt: skip


def archive_forces(archive: Archive) -> pd.DataFrame:
    """`pair_forces` over the batches of the first epoch of seed 0, in float64."""
    return _of_batches(archive, lambda y, stats: pair_forces(y, stats, ALPHAS, LEVELS))


def archive_bands(archive: Archive) -> pd.DataFrame:
    """`band_forces` of `OTHERS` over the same batches: `loss`, and its columns."""

    def forces(y: torch.Tensor, stats: LabelStatistics) -> pd.DataFrame:
        tables = [
            band_forces(name, y, stats, LEVELS[::2], **params).assign(loss=name)
            for name, params in OTHERS.items()
        ]
        return pd.concat(tables).set_index("loss").reset_index()

    return _of_batches(archive, forces)


def _of_batches(archive: Archive, forces: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    y = torch.from_numpy(archive.labels[archive.split(0).train])
    stats = LabelStatistics.from_labels(y, archive.label_names)
    batches = y[shuffled(len(y), BATCH, seed=0, epoch=0)]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return forces(batches, stats)
    finally:
        torch.set_default_dtype(default)


def stored_forces() -> pd.DataFrame:
    """Those of `ARCHIVES` as they come with the repository: `archive`, and the columns of
    `pair_forces`."""
    return pd.read_csv(paths.ROOT / "results" / "forces.csv")


def stored_bands() -> pd.DataFrame:
    """`archive_bands` of `ARCHIVES` as they come with the repository, with `archive`."""
    return pd.read_csv(paths.ROOT / "results" / "band_forces.csv")


def measure() -> None:
    """Write both tables anew; two minutes. ArchiveError if one of `ARCHIVES` is not there."""
    loaded = {name: load_archive(name, image_size=64, progress=False) for name in ARCHIVES}
    for file, of in {"forces": archive_forces, "band_forces": archive_bands}.items():
        tables = [of(archive).assign(archive=name) for name, archive in loaded.items()]
        table = pd.concat(tables).set_index("archive").reset_index()
        write_csv(paths.ROOT / "results" / f"{file}.csv", table)
