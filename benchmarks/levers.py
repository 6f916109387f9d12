"""What could lift any loss: larger batches, two views, averaged weights, a normaliser kept over
epochs, label-aware batches, wider embeddings, features whitened or of several layers.

The head alone trains, for 40 epochs. Only the validation parts of splits 100 to 102 are looked at,
which no table of results uses. A row of results/levers.csv a run and lever; those that are there
are not computed again. `--table` prints each lever's mean gain, in points.
"""

import argparse
import copy
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maclcore import paths, store
from maclcore.config import Config
from maclcore.data import Archive, load_archive
from maclcore.evaluation.relevance import METRICS
from maclcore.evaluation.retrieval import evaluate
from maclcore.losses import lmsc, mulsupcon
from maclcore.losses.pairs import Pairs, complete
from maclcore.losses.ranks import at_least, thresholds
from maclcore.models.network import Head
from maclcore.store.identity import Source, identify
from maclcore.training.inputs import Features, frozen_features
from maclcore.training.loop import Loop
from maclcore.training.momentum import follow
from maclcore.training.retrieval import Retrieval

SPLITS, ARCHIVES = (100, 101, 102), ("dlrsd", "ml_aid")
PROTOCOL = {
    "frozen_views": 4,
    "schedule": "cosine",
    "image_size": 64,
    "weights": "resnet18_imagenet_layer1-3",
    "epochs": 40,
}
LOSSES: dict[str, dict[str, Any]] = {
    "mulsupcon": {"temperature": 0.1},
    "graded_lmsc": {},
    "graded": {"temperature": 0.1},
    "oml": {},
    "lproto": {"temperature": 0.1},
}


class Lever(NamedTuple):
    """What differs from the baseline."""

    config: dict[str, Any] = {}  #: fields of the configuration
    stages: tuple[int, ...] = (4,)  #: those of the ResNet whose pooled features are side by side
    hidden: int | None = None  #: width of the head's hidden layer; None: that of the features
    scale: str = "none"  #: of the features: a key of SCALES
    keep: float | None = None  #: how much of an anchor's earlier normaliser is kept


#: batches in steps of a whole epoch: 11 of 128, 5 of 256, 2 of 512 (DLRSD); 16, 8, 4 (ML-AID)
LEVERS = {
    "baseline": Lever(),
    "batch 256": Lever({"batch_size": 256}),
    "batch 512": Lever({"batch_size": 512}),
    "batch 256, lr 0.002": Lever({"batch_size": 256, "lr": 2e-3}),
    "batch 512, lr 0.004": Lever({"batch_size": 512, "lr": 4e-3}),
    "lr 0.002": Lever({"lr": 2e-3}),
    "80 epochs": Lever({"epochs": 80}),
    "batch 256, 80 epochs": Lever({"batch_size": 256, "epochs": 80}),
    "two views": Lever({"views": 2}),
    "label-aware batches": Lever({"sampler": "label_aware"}),
    "512 dimensions": Lever({"embedding_dim": 512}),
    "1024 dimensions": Lever({"embedding_dim": 1024}),
    "features standardised": Lever(scale="standard"),
    "features whitened": Lever(scale="whitened"),
    "stages 2 to 4": Lever(stages=(2, 3, 4)),
    "stages 2 to 4, hidden 512": Lever(stages=(2, 3, 4), hidden=512),
    "stages 2 to 4, standardised": Lever(stages=(2, 3, 4), scale="standard"),
    "stages 2 to 4, whitened": Lever(stages=(2, 3, 4), scale="whitened"),
    "stages 2 and 3": Lever(stages=(2, 3)),
    "stage 3": Lever(stages=(3,)),
    "hidden 896": Lever(hidden=896),
    "normaliser kept 0.2": Lever(keep=0.2),
    "normaliser kept 0.5": Lever(keep=0.5),
    "normaliser kept 0.8": Lever(keep=0.8),
    "normaliser kept 0.9": Lever(keep=0.9),
}
#: decay of averages of the weights, measured beside the baseline's last ones: a number, or a ramp
#: to it, min(decay, (1 + t) / (10 + t)) at step t
AVERAGES = {"weights averaged 0.99": (0.99, False), "weights averaged 0.999": (0.999, False),
            "weights averaged 0.999, ramp": (0.999, True)}  # fmt: skip


class Stages(nn.Module):
    """A ResNet-18's last three stages, pooled and side by side."""

    columns = {2: slice(0, 128), 3: slice(128, 384), 4: slice(384, 896)}

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        self.resnet = resnet

    def forward(self, x: Tensor) -> Tensor:
        net, pooled = self.resnet, []
        x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
        for stage in (net.layer2, net.layer3, net.layer4):
            x = stage(x)
            pooled.append(net.avgpool(x).flatten(1))
        return torch.cat(pooled, dim=1)


def selected(features: Features, stages: tuple[int, ...]) -> Features:
    """The columns of some stages, of features that have all three."""
    columns = np.r_[*(Stages.columns[stage] for stage in stages)]
    views = [view[:, columns] for view in features.views]
    return Features(features.clean[:, columns], views, features.micro_batch, features.on)


def head(width: int, hidden: int, embedding_dim: int) -> Head:
    """A head whose hidden layer has a width of its own."""
    made = Head(width, embedding_dim)
    made[0], made[2] = nn.Linear(width, hidden), nn.Linear(hidden, embedding_dim)
    for layer in (made[0], made[2]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return made


def standard(x: np.ndarray) -> np.ndarray:
    """(F, F) that divides each column by its standard deviation."""
    spread = x.std(axis=0)
    return np.diag(1 / np.where(spread > 0, spread, 1))


def whitened(x: np.ndarray, floor: float = 1e-2) -> np.ndarray:
    """(F, F) principal axes scaled to variance 1, but for those below `floor` of the mean."""
    variance, axes = np.linalg.eigh(np.cov(x.T))
    return axes / np.sqrt(variance + floor * variance.mean())


SCALES = {"standard": standard, "whitened": whitened}


def scaled(features: Features, how: str) -> Features:
    """Features by the moments of the training images' views."""
    if how == "none":
        return features
    x = np.concatenate(list(features.views)).astype(float)
    mean, matrix = x.mean(axis=0), SCALES[how](x)
    clean, *views = (
        ((part - mean) @ matrix).astype(np.float32) for part in (features.clean, *features.views)
    )
    return Features(clean, views, features.micro_batch, features.on)


class Memory(nn.Module):
    """Moving averages of log-normalisers, K for each training image (SogCLR's idea)."""

    log: Tensor

    def __init__(self, images: int, columns: int, keep: float) -> None:
        super().__init__()
        self.register_buffer("log", torch.full((images, columns), torch.nan))
        self.rest = torch.tensor([keep, 1 - keep]).log()

    def meet(self, batch: Tensor, now: Tensor) -> Tensor:
        """The averages (B, K) after log-normalisers `now` (B, K), of which -inf is not counted."""
        old, now = self.log[batch], now.detach()
        new = torch.logaddexp(old + self.rest[0], now + self.rest[1])
        self.log[batch] = new = torch.where(now.isinf(), old, torch.where(old.isnan(), now, new))
        return new


def mulsupcon_by(memory: Memory, batch: Tensor, z: Tensor, y: Tensor, temperature: float) -> Tensor:
    """As `mulsupcon`, with Σ_a exp(x_ia) / u_i for its logarithm: the same gradient where u_i, the
    anchor's moving average, is that sum."""
    weights = partial(mulsupcon.weights, temperature=temperature)
    terms, own, R, a, b = complete(weights, Pairs.of(y, z.dtype))
    x = (z @ z.T / temperature).scatter(1, own[:, None], torch.finfo(z.dtype).min)
    W = terms.W.scatter(1, own[:, None], 0)
    total = x.logsumexp(dim=1)
    ratio = (total - memory.meet(batch, total[:, None])[:, 0]).exp()
    return a @ (R * ratio - torch.linalg.vecdot(W, x)) / b.sum()


def graded_by(memory: Memory, batch: Tensor, z: Tensor, y: Tensor, temperature: float) -> Tensor:
    """The same of `graded`: its normalisers are exp(x_ip) + |N_iθ| u_iθ, u the mean over N_iθ."""
    pairs = Pairs.of(y, z.dtype)
    x = (z @ z.T / temperature).scatter(1, pairs.own[:, None], torch.finfo(z.dtype).min)
    others = torch.ones_like(x, dtype=torch.bool).scatter(1, pairs.own[:, None], False)
    positive = torch.stack(at_least(pairs, LEVELS))  # (Θ, B, B)
    negative = others & ~positive
    rest = x.expand_as(positive).masked_fill(~negative, -torch.inf).logsumexp(dim=2)
    size = negative.sum(dim=2)
    mean = torch.where(size > 0, rest - size.log(), -torch.inf)
    u = memory.meet(batch, mean.T).T
    norm = torch.where(size > 0, u + size.log(), -torch.inf)[:, :, None]
    norm = torch.logaddexp(x.detach().expand_as(positive), norm)
    each = (x - norm).exp() + (rest[:, :, None] - norm).exp() - x
    count = positive.sum(dim=2)
    means = torch.where(positive, each, 0).sum(dim=2) / count.clamp(min=1)
    return (means.sum(dim=1) / (count > 0).sum(dim=1).clamp(min=1)).mean()


def graded_lmsc_by(
    memory: Memory, batch: Tensor, z: Tensor, y: Tensor, prototypes: Tensor
) -> Tensor:
    """The same of the first half of `graded_lmsc`; the second is as it is."""
    halves, of_labels = z.tensor_split(2, dim=1), prototypes.tensor_split(2, dim=1)
    first, second = (F.normalize(half, dim=1) for half in halves)
    off = sum((torch.linalg.vecdot(half, half) - 0.5).square().mean() for half in halves)
    first = graded_by(memory, batch, first, y, 0.2)
    return first + lmsc(second, y, of_labels[1], temperature=0.1) + 10 * off


LEVELS = "0 .4 .6 .8 1"
KEPT = {
    "mulsupcon": (mulsupcon_by, 1),
    "graded": (graded_by, len(thresholds(LEVELS))),
    "graded_lmsc": (graded_lmsc_by, len(thresholds(LEVELS))),
}


class Levered(Retrieval):
    """Training for retrieval with a lever; the last weights and averages of them, validated."""

    headline = "loss"  # of an epoch; what is measured is the outcome alone

    def __init__(self, source: Source, on: torch.device, lever: Lever) -> None:
        super().__init__(source, on)
        if lever.stages != (4,):
            self.model.backbone = Stages(self.model.backbone)
            self.model.head = Head(896, 1)  # only features are asked for
            self.inputs = selected(frozen_features(self.model, source, on), lever.stages)
        if lever.stages != (4,) or lever.hidden:
            width = self.inputs.clean.shape[1]
            self.model.head = head(width, lever.hidden or width, source.config.embedding_dim)
        self.inputs = scaled(self.inputs, lever.scale)
        self.trained = self.inputs.trained(self.model)
        self.modules = {"model": self.trained, "loss": self.loss}
        self.memory, self.steps = None, 0
        if lever.keep is not None:
            self.by, columns = KEPT[source.config.loss]
            self.memory = self.modules["memory"] = Memory(len(self.rows), columns, lever.keep)
        self.averages = {name: copy.deepcopy(self.trained) for name in AVERAGES}

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        if self.memory is None:
            return super().step(batch)
        z, y, _ = self.seen(batch)
        also = () if self.loss.prototypes is None else (self.loss.prototypes,)
        return {"loss": self.by(self.memory, batch, z, y, *also, **self.source.config.loss_params)}

    def after_step(self) -> None:
        self.steps += 1
        for name, (decay, ramp) in AVERAGES.items():
            at = min(decay, (1 + self.steps) / (10 + self.steps)) if ramp else decay
            follow(self.averages[name], self.trained, at)

    def validate(self) -> dict[str, float]:
        return {}

    def measured(self, head: nn.Module) -> dict[str, float]:
        """The seven metrics of the validation split."""
        index = self.source.split.validation
        with torch.inference_mode():
            z = head.eval()(torch.from_numpy(self.inputs.clean[index]))
        summary = evaluate(z, self.source.known[index]).summary()
        return {name: summary[name] for name in METRICS}


def rows(config: Config, archive: Archive, name: str) -> list[dict[str, Any]]:
    """What a lever comes to: a row, and of the baseline one for each average of its weights."""
    start, on = time.process_time(), torch.device("cpu")
    method = Levered(identify(config, archive=archive), on, LEVERS[name])
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(method, Path(folder), on)
        loop.fit(progress=False)
    session = {k: v for k, v in loop.history[0]["session"].items() if k != "epoch"}
    of = {name: method.trained} | (method.averages if name == "baseline" else {})
    return [
        {
            "lever": lever,
            "loss": config.loss,
            "archive": config.archive,
            "split_seed": config.split_seed,
            **method.measured(head),
            "epochs": config.epochs,
            "steps": method.steps,
            "seconds": round(time.process_time() - start, 1),
            "config": json.dumps(config.to_dict()),
            "environment": json.dumps(session),
            "protocol": "validation split, each image once as query; only the head trained",
        }
        for lever, head in of.items()
    ]


def run(
    file: Path, archives: list[str], losses: list[str], levers: list[str], splits: list[int]
) -> None:
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame()
    key = ["lever", "loss", "archive", "split_seed"]
    done = set(table[key].itertuples(index=False, name=None)) if len(table) else set()
    for archive in archives:
        images = load_archive(archive, image_size=PROTOCOL["image_size"], progress=False)
        for split in splits:
            for loss in losses:
                for name in levers:
                    kept = LEVERS[name].keep is not None
                    if (name, loss, archive, split) in done or (kept and loss not in KEPT):
                        continue
                    given = {**PROTOCOL, "loss": loss, "loss_params": LOSSES[loss]}
                    given |= {"archive": archive, "seed": split, "split_seed": split}
                    config = Config.from_profile("frozen", **given)
                    new = rows(config.but(**LEVERS[name].config), images, name)
                    table = pd.concat([table, pd.DataFrame(new)], ignore_index=True)
                    store.write_csv(file, table)
                    mean = 100 * np.mean([new[0][metric] for metric in METRICS])
                    print(archive, split, loss, name, f"{mean:.2f}", new[0]["seconds"], flush=True)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with their mean of the seven metrics, and its gain on the baseline, in points."""
    table = table.assign(mean=100 * table[list(METRICS)].mean(axis=1))
    key = ["loss", "archive", "split_seed"]
    base = table[table.lever == "baseline"].set_index(key)["mean"]
    table["gain"] = table["mean"] - base.reindex(pd.MultiIndex.from_frame(table[key])).to_numpy()
    return table


def printed(table: pd.DataFrame) -> None:
    """Means over splits, of so many as stands in brackets."""
    table = gains(table)
    columns = [(loss, archive) for loss in LOSSES for archive in ARCHIVES]
    print("| lever | " + " | ".join(f"{loss}, {archive}" for loss, archive in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for lever in table.lever.unique():
        cells = []
        for loss, archive in columns:
            of = table[(table.lever == lever) & (table.loss == loss) & (table.archive == archive)]
            if lever == "baseline":
                cells.append(f"{of['mean'].mean():.2f} ({len(of)})" if len(of) else "")
            else:
                cells.append(f"{of.gain.mean():+.2f} ({len(of)})" if len(of) else "")
        print(f"| {lever} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", nargs="+", default=list(ARCHIVES))
    parser.add_argument("--losses", nargs="+", default=["mulsupcon", "graded_lmsc"])
    parser.add_argument("--levers", nargs="+", default=list(LEVERS), choices=LEVERS)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument("--out", type=Path, default=paths.results_root() / "levers.csv")
    parser.add_argument("--table", action="store_true", help="print what is there")
    args = parser.parse_args()
    if args.table:
        printed(pd.read_csv(args.out))
    else:
        run(args.out, args.archives, args.losses, args.levers, args.splits)


if __name__ == "__main__":
    main()
