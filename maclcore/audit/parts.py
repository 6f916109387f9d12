"""Why parts win, and what their shares trade: the repository's `parts.csv` and `front.csv`.

A loss in parts could win because other losses train the layers below, because its slices complement
one another in a search, or because it is divided at all. `variants` trains what tells these apart:
each loss alone; the same loss in all parts; the sum of the losses on one embedding; losses whose
layers are their own, put side by side; of two halves, the fewest parts that there are. The front is
of the loss that is proposed for heads. Measured once, where the archives are, on test splits: a
dissection, by which nothing is chosen. Heads on frozen features of the trained ImageNet layers:

    python -c "from maclcore.audit import parts; parts.measure()"
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from maclcore.experiments.choosing import HALVES, WALKED, parts_of
from maclcore.experiments.winner import SHORT, WEIGHTS
from maclcore.losses import LOSSES
from maclcore.losses.parts import Part, parts
from maclcore.losses.registry import Loss, LossModule
from maclcore.store import write_csv
from maclcore.store.identity import Source, identify
from maclcore.training.loop import Loop, environment
from maclcore.training.retrieval import Retrieval

ARCHIVES = ("dlrsd", "ml_aid")
SEEDS = (0, 1, 2)  #: of the splits, and of the trainings
STEPS = 8  #: of the shares in `front.csv`

#: the loss that is taken apart, by default as it was chosen, and its losses with their shares
WHOLE = LOSSES[HALVES]
NAMES = tuple(parts_of(HALVES))
SHARES = {name: WHOLE.defaults[name] for name in NAMES}

#: what is trained, in the order of `parts.csv`
VARIANTS = (*NAMES, HALVES, *(f"{name}_in_all" for name in NAMES), "sum", "apart", "apart_wide")
COLUMNS = ("variant", "searched by", "archive", "split_seed", *METRICS, "config", "versions")
FRONT = ("archive", "split_seed", *parts_of(WALKED), *METRICS)


def config_of(archive: str, seed: int, **overrides: Any) -> Config:
    """What all variants have in common, on the split of that seed."""
    common = {
        **SHORT, "weights": WEIGHTS, "frozen_views": 4, "schedule": "cosine", "loss": HALVES,
        "archive": archive, "seed": seed, "split_seed": seed,
    }  # fmt: skip
    return Config.from_profile("frozen", **(common | overrides))


def params_of(name: str) -> dict[str, Any]:
    """The parameters that a loss has as a part."""
    mark = f"{name}_"
    return {k.removeprefix(mark): v for k, v in WHOLE.defaults.items() if k.startswith(mark)}


def alone(name: str) -> Loss:
    """A loss with the parameters that it has as a part, on the whole embedding."""
    return _entry(name, functools.partial(LOSSES[name].function, **params_of(name)), name)


def repeated(name: str) -> Loss:
    """The same loss in each of the parts, of equal shares."""
    numbered = (str(k) for k in range(1, len(NAMES) + 1))
    of = [Part(_called(name + k, LOSSES[name].function), 1.0, params_of(name)) for k in numbered]
    return _entry(f"{name}_in_all", parts(f"{name}_in_all", *of), name)


def added() -> Loss:
    """The sum of the losses, of one undivided embedding."""

    def total(z: Tensor, y: Tensor, prototypes: Tensor, *, check: bool = True) -> Tensor:
        terms = []
        for name in NAMES:
            args = [prototypes] if LOSSES[name].needs_prototypes else []
            terms.append(LOSSES[name].function(z, y, *args, check=check, **params_of(name)))
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


def slices(z: Tensor, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
    """The parts of embeddings (Q, D) by the names of their losses, as unit rows."""
    columns = z.tensor_split(len(names), dim=1)
    return {name: F.normalize(part, dim=1) for name, part in zip(names, columns, strict=True)}


def joined(by_name: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
    """Unit rows [√w_k ẑ_k], whose cosine is Σ_k w_k cos_k; parts without a share are left out."""
    total = sum(shares.values())
    kept = [(shares[name] / total, z) for name, z in by_name.items() if shares[name] > 0]
    return torch.cat([share**0.5 * z for share, z in kept], dim=1)


def shares_grid(names: Sequence[str], steps: int = STEPS) -> list[dict[str, float]]:
    """All shares of the losses that are multiples of 1 / `steps`, of sum 1."""
    counts = np.ndindex(*[steps + 1] * len(names))
    return [
        dict(zip(names, (count / steps for count in row), strict=True))
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
    return params_of(loss.name) if loss.name in NAMES else dict(loss.defaults)


def dissected(source: Source, embed: Callable[[Source, Loss], Tensor] = embedded) -> pd.DataFrame:
    """The rows of `parts.csv` for one split."""
    y = source.archive.labels[source.split.test]
    versions = json.dumps(environment(source.config, torch.device("cpu")))
    rows = []
    for config, variant, found in variants(source, embed):
        said = json.dumps(_changed(config))
        for searched, z in found.items():
            row = {"variant": variant, "searched by": searched} | _split(source)
            rows.append({**row, **_scores(z, y), "config": said, "versions": versions})
    return pd.DataFrame(rows)[list(COLUMNS)]


def walked(source: Source, embed: Callable[[Source, Loss], Tensor] = embedded) -> pd.DataFrame:
    """The rows of `front.csv` for one split: one training, searched with all `shares_grid`. It is
    as long as those of `winner`, beside which it is shown."""
    y, names = source.archive.labels[source.split.test], parts_of(WALKED)
    config = source.config.but(loss=WALKED, epochs=Config.from_profile("frozen").epochs)
    own = slices(embed(replace(source, config=config), LOSSES[WALKED]), names)
    return pd.DataFrame([
        {**_split(source), **shares, **_scores(joined(own, shares), y)}
        for shares in shares_grid(names)
    ])[list(FRONT)]  # fmt: skip


def _split(source: Source) -> dict[str, Any]:
    return {"archive": source.config.archive, "split_seed": source.config.split_seed}


def _scores(z: Tensor, y: np.ndarray) -> dict[str, float]:
    return {name: round(value, 6) for name, value in evaluate(z, y).summary().items()}


def _changed(config: Config) -> dict[str, Any]:
    """What a configuration has other than the defaults; `Config.from_dict` takes it."""
    default = Config().to_dict()
    return {k: v for k, v in config.to_dict().items() if k == "loss" or v != default[k]}


#: what `measure` writes, a file each
TABLES: Mapping[str, tuple[Callable[[Source], pd.DataFrame], Sequence[str]]] = {
    "parts.csv": (dissected, COLUMNS),
    "front.csv": (walked, FRONT),
}


def measure(archives: Iterable[str] = ARCHIVES, seeds: Iterable[int] = SEEDS) -> None:
    """Write `parts.csv` and `front.csv`; splits that they hold already are left as they are.

    Some minutes a split. ArchiveError for an archive that is not in the data folder.
    """
    archives = list(archives)
    for seed in seeds:
        for archive in archives:
            source = identify(config_of(archive, seed))
            for file, (rows_of, _) in TABLES.items():
                known = stored(file)
                if not ((known["archive"] == archive) & (known["split_seed"] == seed)).any():
                    rows = rows_of(source)
                    table = pd.concat([known, rows]) if len(known) else rows
                    write_csv(paths.ROOT / "results" / file, table)


def stored(file: str) -> pd.DataFrame:
    """A table of `TABLES` as it comes with the repository.

    parts.csv  a row a variant, what it is searched by, archive and split: metrics in [0, 1], what
               the configuration has beside defaults, versions
    front.csv  one training by `WALKED` a split, searched with `shares_grid`: a row each
    """
    path = paths.ROOT / "results" / file
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(TABLES[file][1]))
