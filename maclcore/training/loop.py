"""The loop that every training has: step, log, checkpoint, resume. It knows no method.

Order and augmentation are pure functions of (seed, epoch, image), so a checkpoint needs no state
of any random generator, and a resumed run equals an uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from maclcore import store
from maclcore.config import Config
from maclcore.data.sampler import SAMPLERS
from maclcore.evaluation.retrieval import Evaluation
from maclcore.progress import Progress, say, sigterm, tensorboard
from maclcore.store.identity import Source
from maclcore.training import checkpoint, distributed
from maclcore.training.inputs import precision

PERIOD, DECAY = 15, 0.8  # "by 20 % every 15 epochs" (§4.2)
#: what log.jsonl says of an epoch and history.csv does not
LOG_ONLY = ["steps", "largest_loss", "clipped", "images_per_second", "time", "session"]


class Outcome(NamedTuple):
    """What is stored of a run beside its history."""

    embedding: Evaluation  #: on the test split
    backbone: Evaluation | None = None  #: the same of the features before the head
    tensors: Mapping[str, Mapping[str, Tensor]] = {}  #: by file: weights, embeddings
    predicted: np.ndarray | None = None  #: (Q, L) probabilities of the test images' labels


class Method:
    """A way of training, as the loop sees it. What it knows of the loop is this.

    A batch is a tensor (B,) of positions in the training split. Whatever changes while it trains
    lies in `modules`, in parameters or buffers, so that a checkpoint has it.
    """

    source: Source
    #: what a checkpoint holds; the optimiser moves those of their parameters that want a gradient
    modules: Mapping[str, nn.Module]
    #: (n, L) bool, what the order of the images may know of them
    y_train: np.ndarray
    #: the number of `validate` that is shown while it trains
    headline: str

    def begin(self, epoch: int) -> None:
        """Draw what varies in this epoch (from 0)."""
        raise NotImplementedError

    def ahead(self, batches: Sequence[Tensor]) -> Iterable[Tensor]:
        """The batches again, each when what its step reads is at hand."""
        return batches

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """What the batch costs: "loss", whose gradient is followed, and parts of it to log."""
        raise NotImplementedError

    def after_step(self) -> None:
        """The parameters have moved."""

    def after_epoch(self) -> dict[str, float]:
        """The epoch is over, in every process; what to log of it."""
        return {}

    def validate(self) -> dict[str, float]:
        """How good it is on the validation split; asked in the first process alone."""
        raise NotImplementedError

    def explain(self, batch: Tensor) -> str:
        """What helps to see why a number of the batch is not finite, such as its temperatures."""
        return ""

    def outcome(self) -> Outcome:
        """What the training has come to; asked in the first process alone."""
        raise NotImplementedError


@dataclass
class Loop:
    """A training of `method`: its state beside the method's own, and how it moves on."""

    method: Method
    folder: Path
    on: torch.device
    owner: str = ""  #: whose checkpoints it reads and writes: a configuration and a content
    history: list[dict[str, Any]] = field(default_factory=list)  #: a row for each epoch

    def __post_init__(self) -> None:
        config, modules = self.config, self.method.modules.values()
        self.rank, processes = distributed.world()
        n = len(self.method.y_train)
        if min(config.batch_size, n) < processes:
            raise ValueError(
                f"{processes} processes cannot share batches of {config.batch_size} of "
                f"{n} training images; start fewer, or raise batch_size"
            )
        trained = (p for module in modules for p in module.parameters() if p.requires_grad)
        self.parameters = list(trained)
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        if self.on.type == "cuda":
            torch.backends.cudnn.deterministic = True  # the same bits in every run

    @property
    def config(self) -> Config:
        return self.method.source.config

    def fit(self, progress: bool) -> None:
        """Train to the last epoch, from the checkpoint if there is one."""
        config = self.config
        modules = self.method.modules
        self.history = checkpoint.restore(self.folder, self.owner, modules, self.optimizer)
        images = sum(map(len, self.batches(0)))  # of an epoch, for the progress bar
        done = len(self.history)
        with Progress(
            self.folder.name, "images", done * images, config.epochs * images, progress
        ) as bar:
            with sigterm() as asked, tensorboard(self.folder, done) as write:
                for epoch in range(done, config.epochs):
                    start = time.perf_counter()
                    row = {"epoch": epoch + 1, **self.epoch(epoch, bar, asked)}
                    row |= self.method.after_epoch()
                    if self.rank == 0:
                        row |= self.validate()
                        name = self.method.headline
                        short = name.partition("(")[0]  # mAP for mAP(sim)@5000
                        bar.note(f"loss {row['loss']:.3f}, {short} {row[name]:.3f}")
                    row["seconds"] = time.perf_counter() - start
                    if epoch == done:  # of this process
                        row["session"] = {"epoch": epoch + 1, **environment(config, self.on)}
                    self.history.append(row)
                    if self.rank == 0:
                        self.save()
                        write(row)
        if self.rank == 0:
            table = pd.DataFrame(self.history).drop(columns=LOG_ONLY, errors="ignore")
            store.write_csv(self.folder / "history.csv", table)

    def validate(self) -> dict[str, float]:
        return self.method.validate()

    def save(self) -> None:
        if len(self.history) < self.config.epochs:
            modules = self.method.modules
            checkpoint.save(self.folder, self.owner, self.history, modules, self.optimizer)
        store.write_lines(self.folder / "log.jsonl", self.history)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The epoch's batches of positions in the training split."""
        order = SAMPLERS[self.config.sampler]
        known, size, seed = self.method.y_train, self.config.batch_size, self.config.seed
        return order(known, size, seed=seed, epoch=epoch)

    def epoch(self, epoch: int, bar: Progress, asked: Event) -> dict[str, Any]:
        """One pass over the training split; its row of the log, so far."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout, where a backbone has it
        lr = learning_rate(config, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.method.begin(epoch)
        batches = self.batches(epoch)
        for module in self.method.modules.values():
            module.train()
        start, steps = time.perf_counter(), []
        for batch in self.method.ahead(batches):
            steps.append(self.step(batch))
            bar.advance(len(batch))
            if asked.is_set():
                self.leave(epoch)
        # the only synchronisation with the device in an epoch
        values = {name: torch.stack([step[name] for step in steps]).cpu() for name in steps[0]}
        seconds = time.perf_counter() - start
        losses, norms = values["loss"], values["gradient_norm"]
        bad = (~(losses.isfinite() & norms.isfinite())).nonzero()
        if len(bad):
            i = int(bad[0])
            self.fail(epoch, i, lr, batches[i], losses[i].item(), norms[i].item())
        return {
            "lr": lr,
            **{name: value.mean().item() for name, value in values.items()},
            "steps": len(batches),
            "largest_loss": losses.max().item(),
            "clipped": (norms > config.clip_norm).double().mean().item(),
            "images_per_second": round(sum(map(len, batches)) / seconds, 1),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """One update; what the batch cost, and the norm of its gradient before clipping."""
        costs = self.method.step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        costs["loss"].backward()
        distributed.average_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        self.method.after_step()
        return {**{name: cost.detach() for name, cost in costs.items()}, "gradient_norm": norm}

    def leave(self, epoch: int) -> NoReturn:
        saved = f"the state after epoch {epoch} is saved, and" if epoch else "no epoch was over;"
        say(
            f"{self.folder.name}: SIGTERM in epoch {epoch + 1} of {self.config.epochs}; {saved} "
            "the same command goes on from there"
        )
        raise SystemExit(0)

    def fail(
        self, epoch: int, number: int, lr: float, batch: Tensor, loss: float, norm: float
    ) -> NoReturn:
        """Say all that helps to find out why a number of this batch is not finite."""
        source = self.method.source
        names = [source.archive.names[i] for i in source.split.train[batch]]
        what = f"gradient norm is {norm}" if math.isfinite(loss) else f"loss is {loss}"
        raise FloatingPointError(
            f"{self.folder.name}: {what} in epoch {epoch + 1}, batch {number + 1}, learning rate "
            f"{lr:.3g}, {self.method.explain(batch)}images {', '.join(names[:8])} and "
            f"{max(len(names) - 8, 0)} more; lower the learning rate or raise the temperature"
        )


def learning_rate(config: Config, epoch: int) -> float:
    """The learning rate of an epoch (from 0) under the configuration's schedule."""
    if config.schedule == "step":
        return config.lr * DECAY ** (epoch // PERIOD)
    if config.schedule == "restart":
        peak = config.lr * DECAY ** (epoch // PERIOD)
        return peak * (1 + math.cos(math.pi * (epoch % PERIOD) / PERIOD)) / 2
    return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def environment(config: Config, on: torch.device) -> dict[str, Any]:
    """Versions and hardware of this process."""
    return store.environment(on, precision(config, on))
