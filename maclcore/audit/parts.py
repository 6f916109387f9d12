"""Why parts win, and what their shares trade: the repository's `parts.csv` and `front.csv`.

A loss in parts could win because other losses train the layers below, because its slices complement
one another in a search, or because it is divided at all. `variants` trains what tells these apart:
each loss alone; the same loss in all parts; the sum of the losses on one embedding; losses whose
layers are their own, put side by side. Measured once, where the archives are, on test splits: a
dissection, by which nothing is chosen. Heads on frozen features of the trained ImageNet layers:

    python -c "from maclcore.audit import parts; parts.measure()"
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from maclcore import paths
from maclcore.config import Config
from maclcore.evaluation.relevance import METRICS
from maclcore.evaluation.retrieval import evaluate
from maclcore.losses import LOSSES
from maclcore.losses.parts import Part, parts
from maclcore.losses.registry import Loss, LossModule
from maclcore.store import write_csv
from maclcore.store.identity import Source, identify
from maclcore.training.loop import Loop, environment
from maclcore.training.retrieval import Retrieval

ARCHIVES = ("dlrsd", "ml_aid")
SEEDS = (0, 1, 2)  #: of the splits, and of the trainings
#: of a training, as where settings are chosen (`winner.SHORT`)
EPOCHS = 40
STEPS = 8  #: of the shares in `front.csv`

#: the loss that is taken apart, and its losses with their shares
WHOLE = LOSSES["four_parts"]
SHARES = {name: share for name, share in WHOLE.defaults.items() if name in LOSSES}
NAMES = tuple(SHARES)

#: what `parts.csv` calls them, in words
VARIANTS = {
    **{name: f"{LOSSES[name].label} alone" for name in NAMES},
    WHOLE.name: "in parts",
    **{f"{name}_in_all": f"{LOSSES[name].label} in all parts" for name in NAMES},
    "sum": "their sum, undivided",
    "apart": "layers of their own",
    "apart_wide": "layers and widths of their own",
}
COLUMNS = ("variant", "searched by", "archive", "split_seed", *METRICS, "config", "versions")
FRONT = ("archive", "split_seed", *NAMES, *METRICS)


def config_of(archive: str, seed: int, **overrides: Any) -> Config:
    """What all variants have in common, on the split of that seed."""
    common = {
        "image_size": 64, "frozen_views": 4, "schedule": "cosine", "epochs": EPOCHS,
        "weights": "resnet18_imagenet_layer1-3", "loss": WHOLE.name,
    }  # fmt: skip
    common |= {"archive": archive, "seed": seed, "split_seed": seed}
    return Config.from_profile("frozen", **(common | overrides))


def setting(name: str) -> dict[str, Any]:
    """The parameters that a loss has as a part."""
    mark = f"{name}_"
    return {k.removeprefix(mark): v for k, v in WHOLE.defaults.items() if k.startswith(mark)}


def alone(name: str) -> Loss:
    """A loss with the parameters that it has as a part, on the whole embedding."""
    return _entry(name, functools.partial(LOSSES[name].function, **setting(name)), name)


def repeated(name: str) -> Loss:
    """The same loss in each of the parts, of equal shares."""
    numbered = (str(k) for k in range(1, len(NAMES) + 1))
    of = [Part(_called(name + k, LOSSES[name].function), 1.0, setting(name)) for k in numbered]
    return _entry(f"{name}_in_all", parts(f"{name}_in_all", *of), name)


def added() -> Loss:
    """The sum of the losses, of one undivided embedding."""

    def total(z: Tensor, y: Tensor, prototypes: Tensor, *, check: bool = True) -> Tensor:
        terms = []
        for name in NAMES:
            args = [prototypes] if LOSSES[name].needs_prototypes else []
            terms.append(LOSSES[name].function(z, y, *args, check=check, **setting(name)))
        return torch.stack(terms).sum()

    return _entry("sum", total, WHOLE.name)


def _entry(name: str, function: Callable[..., Tensor], like: str) -> Loss:
    """An entry like that of another loss, for none of its own: nothing is registered."""
    return replace(LOSSES[like], name=name, function=function)


def _called(name: str, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same loss by another name, so that `parts` can tell its copies apart."""

    @functools.wraps(loss)
    def copy(*args: Any, **kwargs: Any) -> Tensor:
        return loss(*args, **kwargs)

    copy.__name__ = name
    return copy


class Dissected(Retrieval):
    """Training for retrieval by a loss that need not be in the registry, of which nothing is asked
    before it has ended."""

    headline = "loss"

    def __init__(self, source: Source, on: torch.device, loss: Loss) -> None:
        super().__init__(source, on)
        stats, width = self.stats, source.config.embedding_dim
        self.loss = LossModule(loss, stats, width, dict(loss.defaults)).to(on)
        self.modules = {**self.modules, "loss": self.loss}

    def validate(self) -> dict[str, float]:
        return {}


def embedded(source: Source, loss: Loss) -> Tensor:
    """Embeddings (Q, D) of the test images after a training by `loss`."""
    on = torch.device("cpu")
    method = Dissected(source, on, loss)
    with TemporaryDirectory() as folder:
        Loop(method, Path(folder), on).fit(progress=False)
    return method.inputs.embed(method.model, source.split.test)[0]


def slices(z: Tensor) -> dict[str, Tensor]:
    """The parts of embeddings (Q, D) by the names of their losses, as unit rows."""
    columns = z.tensor_split(len(NAMES), dim=1)
    return {name: F.normalize(part, dim=1) for name, part in zip(NAMES, columns, strict=True)}


def joined(by_name: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
    """Unit rows [√w_k ẑ_k], whose cosine is Σ_k w_k cos_k; parts without a share are left out."""
    total = sum(shares.values())
    kept = [(shares[name] / total, z) for name, z in by_name.items() if shares[name] > 0]
    return torch.cat([share**0.5 * z for share, z in kept], dim=1)


def shares_grid(steps: int = STEPS) -> list[dict[str, float]]:
    """All shares of the losses that are multiples of 1 / `steps`, of sum 1."""
    counts = np.ndindex(*[steps + 1] * len(NAMES))
    return [
        dict(zip(NAMES, (count / steps for count in row), strict=True))
        for row in counts
        if sum(row) == steps
    ]


def variants(
    source: Source, embed: Callable[[Source, Loss], Tensor] = embedded
) -> Iterator[tuple[Config, str, dict[str, Tensor]]]:
    """(configuration, variant, embeddings by what is searched) of each of `VARIANTS`, in turn."""
    config, width = source.config, source.config.embedding_dim
    widths = [part.shape[1] for part in torch.empty(1, width).tensor_split(len(NAMES), dim=1)]

    def trained(loss: Loss, width: int = width) -> tuple[Config, Tensor]:
        said = config.but(embedding_dim=width)
        z = embed(replace(source, config=said), loss)
        return said.but(loss=loss.name, loss_params=_defaults(loss)), z

    wide, narrow = {}, {}
    for name, part in zip(NAMES, widths, strict=True):
        said, wide[name] = trained(alone(name))
        yield said, name, {"whole": wide[name]}
        _, narrow[name] = trained(alone(name), part)
    said, z = trained(WHOLE)
    yield said, WHOLE.name, {"whole": z} | slices(z)
    for name in NAMES:
        said, z = trained(same := repeated(name))
        numbered = {str(k): part for k, part in enumerate(slices(z).values(), 1)}
        yield said, same.name, {"whole": z} | numbered
    said, z = trained(added())
    yield said, "sum", {"whole": z}
    for variant, found in {"apart": narrow, "apart_wide": wide}.items():
        each = {"whole": joined(found, SHARES)} | (narrow if variant == "apart" else {})
        yield config.but(loss=variant), variant, each


def _defaults(loss: Loss) -> dict[str, Any]:
    return setting(loss.name) if loss.name in NAMES else dict(loss.defaults)


def dissected(
    source: Source, embed: Callable[[Source, Loss], Tensor] = embedded
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `parts.csv` and of `front.csv` for one split."""
    y = source.archive.labels[source.split.test]
    about = {"archive": source.config.archive, "split_seed": source.config.split_seed}
    versions = json.dumps(environment(source.config, torch.device("cpu")))
    rows, front = [], []
    for config, variant, found in variants(source, embed):
        said = json.dumps(_changed(config))
        for searched, z in found.items():
            row = {"variant": variant, "searched by": searched} | about
            rows.append({**row, **_scores(z, y), "config": said, "versions": versions})
        if variant == WHOLE.name:
            own = {name: found[name] for name in NAMES}
            for shares in shares_grid():
                front.append({**about, **shares, **_scores(joined(own, shares), y)})
    return pd.DataFrame(rows)[list(COLUMNS)], pd.DataFrame(front)[list(FRONT)]


def _scores(z: Tensor, y: np.ndarray) -> dict[str, float]:
    return {name: round(value, 6) for name, value in evaluate(z, y).summary().items()}


def _changed(config: Config) -> dict[str, Any]:
    """What a configuration has other than the defaults; `Config.from_dict` takes it."""
    default = Config().to_dict()
    return {k: v for k, v in config.to_dict().items() if k == "loss" or v != default[k]}


def measure(archives: Iterable[str] = ARCHIVES, seeds: Iterable[int] = SEEDS) -> None:
    """Write `parts.csv` and `front.csv`; splits that they hold already are left as they are.

    Some minutes a split. ArchiveError for an archive that is not in the data folder.
    """
    archives = list(archives)
    for seed in seeds:
        for archive in archives:
            known = stored_parts()
            if ((known["archive"] == archive) & (known["split_seed"] == seed)).any():
                continue
            rows, front = dissected(identify(config_of(archive, seed)))
            _write("front.csv", stored_front(), front)
            _write("parts.csv", stored_parts(), rows)


def _write(file: str, known: pd.DataFrame, rows: pd.DataFrame) -> None:
    split = ["archive", "split_seed"]
    kept = known[~known.set_index(split).index.isin(rows.set_index(split).index)]
    write_csv(paths.ROOT / "results" / file, pd.concat([kept, rows]) if len(kept) else rows)


def stored_parts() -> pd.DataFrame:
    """The variants as they come with the repository: a row a variant, what it is searched by,
    archive and split; metrics in [0, 1], what the configuration has beside defaults, versions."""
    return _stored("parts.csv", COLUMNS)


def stored_front() -> pd.DataFrame:
    """One training by the loss in parts a split, searched with all `shares_grid`: a row each."""
    return _stored("front.csv", FRONT)


def _stored(file: str, columns: Iterable[str]) -> pd.DataFrame:
    path = paths.ROOT / "results" / file
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(columns))


def means(rows: pd.DataFrame, archive: str) -> pd.DataFrame:
    """Means over an archive's splits in percent, of `stored_parts()` by variant and what is
    searched, of `stored_front()` by shares, in the order of the rows."""
    by = ["variant", "searched by"] if "variant" in rows else list(NAMES)
    of = rows[rows["archive"] == archive]
    return 100 * of.groupby(by, sort=False)[list(METRICS)].mean()


def gaps(rows: pd.DataFrame, one: tuple[str, str], other: tuple[str, str]) -> pd.DataFrame:
    """How far (variant, searched by) `one` is above the `other` of the same split, in points: a row
    an archive and metric, with the mean `gap` and in how many of the `splits` it is `ahead`."""

    def of(pair: tuple[str, str]) -> pd.DataFrame:
        found = rows[(rows["variant"] == pair[0]) & (rows["searched by"] == pair[1])]
        return found.set_index(["archive", "split_seed"])[list(METRICS)]

    gap = 100 * (of(one) - of(other))
    groups = gap.groupby(level="archive", sort=False)
    table = {"gap": groups.mean(), "ahead": (gap > 0).groupby(level="archive", sort=False).sum()}
    stacked = {name: part.rename_axis(columns="metric").stack() for name, part in table.items()}
    return pd.DataFrame(stacked).assign(splits=gap.groupby(level="archive").size().max())
