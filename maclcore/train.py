"""One loop: step, log, checkpoint, resume. The only place in which anything is trained.

Order and augmentation are pure functions of (seed, epoch, image), so a checkpoint needs no state
of any random generator, and a resumed run equals an uninterrupted one bit for bit.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm.auto import tqdm

from maclcore import paths, reference, store
from maclcore.config import Config
from maclcore.data import Archive, Split, load_archive
from maclcore.data.augment import PARAMETERS, augment, draw
from maclcore.data.sampler import SAMPLERS
from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss
from maclcore.metrics import Evaluation, evaluate
from maclcore.model import RetrievalNet, autocast, resolve_precision
from maclcore.momentum import MomentumQueue
from maclcore.retrieval import embed
from maclcore.store import Run

#: rows that need no training and stand beside every method
REFERENCES = ("chance", "frozen", "oracle")
PERIOD, DECAY = 15, 0.8  # "by 20 % every 15 epochs" (§4.2)


def train(config: Config, *, progress: bool = True, device: str | None = None) -> Run:
    """Train, evaluate on the test split, store; resume if it was interrupted, return if done.

    A reference row (chance, frozen, oracle) is a run like any other, without the training.
    Raises ValueError for an unknown loss, backbone or archive, and FloatingPointError, naming the
    images of the batch, if a loss is not finite; the last checkpoint then stays.
    """
    run = Run(paths.runs_root() / config.run_id)
    if run.finished:
        return run
    run.folder.mkdir(parents=True, exist_ok=True)
    # a second process that wants the same run waits, and then finds it finished
    with FileLock(run.folder / "run.lock"):
        if run.finished:
            return run
        for leftover in (*run.folder.glob(".tmp*"), *run.folder.glob(".*.tmp")):
            leftover.unlink(missing_ok=True)  # half-written by a process that was killed
        store.write_json(run.folder / "config.json", config.to_dict())
        start = time.perf_counter()
        on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        archive = load_archive(config.archive, image_size=config.image_size, progress=progress)
        split = archive.split(config.split_seed)
        head, features, tensors = _outcome(config, archive, split, run.folder, on, progress)
        table = head.per_query.set_axis([archive.names[i] for i in split.test]).rename_axis("query")
        store.write_per_query(run.folder / "per_query.parquet", table)
        for name, content in tensors.items():
            store.write_tensors(run.folder / f"{name}.safetensors", content)
        result = {
            "config": config.to_dict(),
            "loss": {**LOSSES[config.loss].defaults, **config.loss_params}
            if config.loss in LOSSES
            else {},
            "metrics": head.summary(),
            "metrics_backbone": features.summary() if features else {},
            "queries": len(split.test),
            "protocol": "test split, each image once as query, the others as gallery; cosine",
            "archive": {
                "title": archive.title,
                "footnote": archive.footnote,
                "fingerprint": archive.fingerprint,
                "split": "/".join(str(len(part)) for part in split),
            },
            "environment": store.environment(
                on, resolve_precision(config.precision, on, config.image_size)
            ),
            "seconds": round(time.perf_counter() - start, 1),
        }
        store.write_json(run.folder / store.RESULT, result)
        (run.folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return run


def learning_rate(config: Config, epoch: int) -> float:
    """The learning rate of an epoch (from 0) under the configuration's schedule."""
    if config.schedule == "step":
        return config.lr * DECAY ** (epoch // PERIOD)
    if config.schedule == "restart":
        peak = config.lr * DECAY ** (epoch // PERIOD)
        return peak * (1 + math.cos(math.pi * (epoch % PERIOD) / PERIOD)) / 2
    return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def collapse(z: Tensor) -> dict[str, float]:
    """Mean off-diagonal cosine and effective rank of unit rows z (N, D).

    A cosine near 1 or a rank near 1 is a collapsed embedding, the known failure of losses whose
    pairwise temperature breaks shift invariance. Effective rank: exp of the entropy of the
    normalised singular values (Roy & Vetterli 2007).
    """
    n = len(z)
    values = torch.linalg.svdvals(z.double())
    share = values / values.sum()
    entropy = -torch.special.xlogy(share, share).sum()
    cosine = (z.double().sum(0).square().sum() - n) / max(n * (n - 1), 1)
    return {"mean_cosine": cosine.item(), "effective_rank": entropy.exp().item()}


def load_model(run: Run) -> RetrievalNet:
    """The trained network of a finished run, in evaluation mode on the CPU."""
    config = run.config
    file = run.folder / "weights.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: weights stay where they were trained")
    model = RetrievalNet(config.backbone, "none", config.embedding_dim, config.image_size)
    with safe_open(file, framework="pt") as stored:
        model.load_state_dict({k: stored.get_tensor(k) for k in stored.keys()})  # noqa: SIM118
    return model.eval()


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Leaves the running statistics of BatchNorm as they were."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


Outcome = tuple[Evaluation, Evaluation | None, dict[str, dict[str, Tensor]]]


def _outcome(
    config: Config, archive: Archive, split: Split, folder: Path, on: torch.device, progress: bool
) -> Outcome:
    """Test evaluation of the embedding and of the backbone's features, and tensors to keep."""
    y_test = archive.labels[split.test]
    if config.loss == "chance":
        return reference.chance(y_test), None, {}
    if config.loss == "oracle":
        return reference.oracle(y_test), None, {}
    torch.manual_seed(config.seed)
    model = RetrievalNet(config.backbone, config.weights, config.embedding_dim, config.image_size)
    if model.fresh and progress:
        tqdm.write(f"{config.weights} lacks, so freshly initialised: {', '.join(model.fresh)}")
    model = model.to(on, memory_format=torch.channels_last)
    if config.loss != "frozen":
        _Training(config, archive, split, model, folder, on).fit(progress)
    precision = resolve_precision(config.precision, on, config.image_size)
    z, h = embed(model, archive.images, split.test, device=on, precision=precision)
    features = evaluate(h, y_test)
    if config.loss == "frozen":  # an untrained head says nothing
        return features, None, {"embeddings": {"z": h}}
    return evaluate(z, y_test), features, {"weights": model.state_dict(), "embeddings": {"z": z}}


@dataclass
class _Training:
    """The state of a training, and how it is saved and restored."""

    config: Config
    archive: Archive
    split: Split
    model: RetrievalNet
    folder: Path
    on: torch.device

    def __post_init__(self) -> None:
        config, labels = self.config, self.archive.labels
        self.stats = LabelStatistics.from_labels(labels[self.split.train], self.archive.label_names)
        self.loss = build_loss(
            config.loss, self.stats, embedding_dim=config.embedding_dim, **config.loss_params
        ).to(self.on)
        self.parameters = [*self.model.parameters(), *self.loss.parameters()]
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.precision = resolve_precision(config.precision, self.on, config.image_size)
        self.images = torch.from_numpy(self.archive.images)
        if self.on.type == "cuda":
            torch.backends.cudnn.deterministic = True  # the same bits in every run
            self.images = self.images.to(self.on)
        self.y = torch.from_numpy(labels).to(self.on)
        self.queue, self.form = None, LOSSES[config.loss].queue
        if config.queue:
            if self.form is None:
                raise ValueError(
                    f"{config.loss} has no queue in its original form; set queue=0. These have: "
                    + ", ".join(name for name, loss in LOSSES.items() if loss.queue)
                )
            self.queue = MomentumQueue(
                self.model, config.queue, config.embedding_dim, self.y.shape[1]
            )
        self.history: list[dict[str, float]] = []

    def fit(self, progress: bool) -> None:
        self.restore()
        epochs = range(len(self.history), self.config.epochs)
        bar = tqdm(
            epochs,
            desc=self.config.run_id,
            initial=len(self.history),
            total=self.config.epochs,
            unit="epoch",
            disable=None if progress else True,  # None: quiet when not a terminal
        )
        for epoch in bar:
            start = time.perf_counter()
            row = {"epoch": epoch + 1, **self.epoch(epoch), **self.validate()}
            row["seconds"] = time.perf_counter() - start
            self.history.append(row)
            bar.set_postfix(loss=f"{row['loss']:.3f}", map=f"{row['mAP(sim)@5000']:.3f}")
            if epoch + 1 < self.config.epochs:
                self.save()
        store.write_csv(self.folder / "history.csv", pd.DataFrame(self.history))

    def epoch(self, epoch: int) -> dict[str, float]:
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout, where a backbone has it
        lr = learning_rate(config, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        views = 2 if self.queue else config.views
        uniform = draw(len(self.images), seed=config.seed, epoch=epoch, views=views)
        rows = torch.from_numpy(self.split.train)
        order = SAMPLERS[config.sampler]
        labels = self.archive.labels[self.split.train]
        batches = order(labels, config.batch_size, seed=config.seed, epoch=epoch)
        self.model.train()
        losses, norms = [], []
        for batch in batches:
            loss, norm = self.step(rows[batch], uniform)
            losses.append(loss)
            norms.append(norm)
        values = torch.stack(losses)  # the only synchronisation with the device in an epoch
        if not values.isfinite().all():
            bad = int(values.isfinite().logical_not().nonzero()[0])
            names = [self.archive.names[i] for i in rows[batches[bad]]]
            raise FloatingPointError(
                f"{config.run_id}: loss is {values[bad].item()} in epoch {epoch + 1}, batch "
                f"{bad + 1}, learning rate {lr:.3g}, images {', '.join(names[:8])} and "
                f"{max(len(names) - 8, 0)} more; lower the learning rate or raise the temperature"
            )
        return {
            "lr": lr,
            "loss": values.mean().item(),
            "gradient_norm": torch.stack(norms).mean().item(),
        }

    def step(self, index: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One update on the images `index` (B,); its loss and gradient norm before clipping.

        uniform: `draw`'s numbers for the archive's images, of one view or of two.
        """
        first, *second = uniform[index].split(PARAMETERS, dim=1)
        y = self.y[index.to(self.on)]
        if self.queue is None:
            views = 1 + len(second)
            z = self.embed(self.model, index.repeat(views), torch.cat([first, *second]))
            loss = self.loss(z, y.repeat(views, 1))
        else:
            self.queue.follow(self.model, self.config.momentum)
            with torch.no_grad():
                keys = self.embed(self.queue.encoder, index, *second)
            z = self.embed(self.model, index, first)
            loss = self.loss(z, y, **self.queue.contrast(self.form, keys, y))
            self.queue.enqueue(keys, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        return loss.detach(), norm

    def embed(self, model: RetrievalNet, index: Tensor, uniform: Tensor) -> Tensor:
        """Embeddings (B, D) of the images `index` (B,), each augmented by its row of `uniform`.

        With `micro_batch` set, that many images at a time, whose activations are computed again
        when their gradient is due: one gradient of the whole batch in the memory of a part (Gao et
        al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021).
        """

        def forward(index: Tensor, uniform: Tensor) -> Tensor:
            images = self.images[index.to(self.images.device)].to(self.on)
            images = augment(images, uniform.to(self.on))
            with autocast(self.on, self.precision):
                return model(images.contiguous(memory_format=torch.channels_last))

        size = self.config.micro_batch or len(index)
        if size >= len(index):
            return forward(index, uniform)
        parts = zip(index.split(size), uniform.split(size), strict=True)

        def passes() -> tuple[AbstractContextManager, AbstractContextManager]:
            return nullcontext(), _buffers_kept(model)  # statistics are counted once

        return torch.cat(
            [checkpoint(forward, *part, use_reentrant=False, context_fn=passes) for part in parts]
        )

    def validate(self) -> dict[str, float]:
        index = self.split.validation
        z, _ = embed(self.model, self.images, index, device=self.on, precision=self.precision)
        return {**evaluate(z, self.archive.labels[index]).summary(), **collapse(z)}

    def save(self) -> None:
        """Everything that the next epoch depends on, in one file."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"loss.{k}": v for k, v in self.loss.state_dict().items()}
        if self.queue is not None:
            tensors |= {f"queue.{k}": v for k, v in self.queue.state_dict().items()}
        for i, parameter in enumerate(self.parameters):
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{i}.{key}"] = value
        metadata = {"run_id": self.config.run_id, "history": json.dumps(self.history)}
        store.write_tensors(self.folder / "checkpoint.safetensors", tensors, metadata)

    def restore(self) -> None:
        file = self.folder / "checkpoint.safetensors"
        if not file.is_file():
            return
        with safe_open(file, framework="pt") as stored:
            metadata: Mapping[str, Any] = stored.metadata()
            if metadata["run_id"] != self.config.run_id:
                raise ValueError(f"{file} belongs to run {metadata['run_id']}; delete it")
            state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        modules = {"model.": self.model, "loss.": self.loss, "queue.": self.queue or nn.Module()}
        for prefix, module in modules.items():
            part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            module.load_state_dict(part)
        for i, parameter in enumerate(self.parameters):
            prefix = f"optimizer.{i}."
            for key in [k for k in state if k.startswith(prefix)]:
                value = state[key].to(self.on)
                if value.shape == parameter.shape:  # in the parameter's own memory format
                    value = torch.empty_like(parameter).copy_(value)
                self.optimizer.state[parameter][key.removeprefix(prefix)] = value
        self.history = json.loads(metadata["history"])
