"""One loop: step, log, checkpoint, resume. The only place in which anything is trained.

Order and augmentation are pure functions of (seed, epoch, image), so a checkpoint needs no state
of any random generator, and a resumed run equals an uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor, nn
from tqdm.auto import tqdm

from maclcore import paths, store
from maclcore.config import Config
from maclcore.data import Archive, Split
from maclcore.data.augment import augment, draw
from maclcore.data.sampler import SAMPLERS
from maclcore.data.stream import Images
from maclcore.evaluation import reference
from maclcore.evaluation.embedding import embed
from maclcore.evaluation.retrieval import Evaluation, evaluate
from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss, pair_weights
from maclcore.models.network import (
    RetrievalNet,
    autocast,
    check_size,
    resolve_precision,
)
from maclcore.models.weights import weights_content
from maclcore.progress import Progress, say, sigterm, tensorboard
from maclcore.store import Run
from maclcore.store.identity import Source, claim, identify, remember, told
from maclcore.training import checkpoint, distributed
from maclcore.training.frozen import Features, frozen_features
from maclcore.training.gradcache import in_parts
from maclcore.training.momentum import MomentumQueue

#: rows that need no training and stand beside every method
REFERENCES = ("chance", "frozen", "oracle")
PERIOD, DECAY = 15, 0.8  # "by 20 % every 15 epochs" (§4.2)
#: what log.jsonl says of an epoch and history.csv does not
LOG_ONLY = ["steps", "largest_loss", "clipped", "images_per_second", "time", "session"]


def train(
    config: Config,
    *,
    progress: bool = True,
    device: str | None = None,
    wait: float = -1,
    expected: Mapping[str, str] | None = None,
) -> Run:
    """Train, evaluate on the test split, store; resume if it was interrupted, return if done.

    A run belongs to its configuration and to the content of the archive, the split and the initial
    weights (`maclcore.store.identity`): one that is stored from other content is neither returned
    nor touched, and what differs is said. `Run.computed` tells whether this call has computed it.
    A reference row (chance, frozen, oracle) is a run like any other, without the training.
    Started by torchrun, the processes share each batch, with one loss over all of it
    (`maclcore.training.distributed`); the first one writes. BatchNorm then sees a process's part of
    the batch, on GPUs the whole; without it results agree with one process's to rounding.

    SIGTERM lets the step under way finish and exits with 0. Raises ValueError for an unknown loss,
    backbone or archive, and for content that is not the `expected` identity or not that of the
    other processes; OSError where nothing can be written; and FloatingPointError, naming the
    images of the batch, if a loss is not finite. Each time the last checkpoint stays, and the same
    call goes on from there. Where another process is at the same run, waits for it, at most for
    `wait` seconds (-1: as long as it takes) before it raises filelock.Timeout.
    """
    with distributed.processes(device) as on:
        first = distributed.world()[0] == 0
        source = identify(config, progress=progress and first)
        if first:
            remember(source.archive)
        expected = distributed.of_first(expected or source.identity)
        if source.identity != expected:
            raise ValueError(
                f"{config.archive} or {config.weights} is not the same here as where this run was "
                f"started: {source.identity} for {expected}; give all machines the same files"
            )
        with claim(source, wait) if first else nullcontext() as run:
            run = Run(paths.runs_root() / distributed.of_first(run.run_id if first else ""))
            if first and "@" in run.run_id and not run.finished:
                say(told(run, source))
            if distributed.of_first(run.finished):  # by now, or by the process that we waited for
                if progress and first:
                    say(run.provenance)
                return run
            compute(source, run, on, progress and first)
            distributed.of_first(True)  # wait for what the first one writes
    return replace(run, computed=True)


def compute(source: Source, run: Run, on: torch.device, progress: bool) -> None:
    """Train and evaluate `source` into the folder of `run`, from its checkpoint if it has one."""
    first = distributed.world()[0] == 0
    config, archive, split = source.config, source.archive, source.split
    start, earlier = time.perf_counter(), sum(row["seconds"] for row in store.log(run.folder))
    outcome = _outcome(source, run, on, progress)
    if not first:
        return
    head, features, tensors = outcome
    table = head.per_query.set_axis([archive.names[i] for i in split.test]).rename_axis("query")
    store.write_per_query(run.folder / "per_query.parquet", table)
    for name, content in tensors.items():
        store.write_tensors(run.folder / f"{name}.safetensors", content, source.identity)
    environment = _environment(config, on)
    result = {
        "config": config.to_dict(),
        "loss": {**LOSSES[config.loss].defaults, **config.loss_params}
        if config.loss in LOSSES
        else {},
        "metrics": head.summary(),
        "metrics_backbone": features.summary() if features else {},
        "queries": len(split.test),
        "protocol": "test split, each image once as query, the others as gallery; cosine"
        + "; only the head trained" * bool(config.frozen_views),
        "archive": {
            "title": archive.title,
            "footnote": archive.footnote,
            "fingerprint": archive.fingerprint,
            "split": "/".join(str(len(part)) for part in split),
        },
        "identity": source.identity,
        "environment": environment,
        **({"sessions": sessions} if (sessions := _sessions(run, environment)) else {}),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(earlier + time.perf_counter() - start, 1),
    }
    store.write_json(run.folder / store.RESULT, result)
    checkpoint.remove(run.folder)


def _sessions(run: Run, environment: dict[str, Any]) -> list[dict[str, Any]]:
    """Versions and hardware of each process that trained a part of `run`, if they differ."""
    sessions = [row["session"] for row in store.log(run.folder) if "session" in row]
    return sessions if any(s != {"epoch": s["epoch"], **environment} for s in sessions) else []


def _environment(config: Config, on: torch.device) -> dict[str, Any]:
    return store.environment(on, resolve_precision(config.precision, on, config.image_size))


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
    """The trained network of a finished run, in evaluation mode on the CPU.

    FileNotFoundError if its weights are not here, ValueError if they are another run's, or if only
    the head was trained and the initial weights are not here as they were.
    """
    config, identity = run.config, run.identity
    file = run.folder / "weights.safetensors"
    if not run.finished:
        raise ValueError(
            f"run {run.run_id} is not finished: `train` with its configuration goes on"
        )
    if not file.is_file():
        raise FileNotFoundError(
            f"{run.run_id} is stored without its weights, which stay where it was trained: copy "
            f"them to {file}, or compute some by `python -m maclcore runs recompute {run.run_id}`, "
            "which leaves them in results/recomputed/"
        )
    # where only the head was trained, the file has nothing else
    weights = config.weights if config.frozen_views else "none"
    if config.frozen_views and "weights" in identity:
        now = weights_content(config.backbone, weights)
        if now != identity["weights"]:
            raise ValueError(
                f"{run.run_id} started from other weights {weights!r} than are here now "
                f"({identity['weights']}, here {now}), and has only its head stored"
            )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = RetrievalNet(config.backbone, weights, config.embedding_dim, config.image_size)
    with safe_open(file, framework="pt") as stored:
        state = {k: stored.get_tensor(k) for k in stored.keys()}  # noqa: SIM118
        of = stored.metadata()
    if "split" in identity and of != identity:
        raise ValueError(f"{file} is of another run, or of other content; remove it")
    model.load_state_dict(state, strict=not config.frozen_views)
    return model.eval()


Outcome = tuple[Evaluation, Evaluation | None, dict[str, dict[str, Tensor]]]


def _outcome(source: Source, run: Run, on: torch.device, progress: bool) -> Outcome | None:
    """Test evaluation of the embedding and of the backbone's features, and tensors to keep."""
    config, archive, split = source.config, source.archive, source.split
    y_test = archive.labels[split.test]
    if config.loss == "chance":
        return reference.chance(y_test), None, {}
    if config.loss == "oracle":
        return reference.oracle(y_test), None, {}
    torch.manual_seed(config.seed)
    model = RetrievalNet(config.backbone, config.weights, config.embedding_dim, config.image_size)
    check_size(model, config.backbone, config.image_size)
    if model.fresh and progress:
        tqdm.write(f"{config.weights} lacks, so freshly initialised: {', '.join(model.fresh)}")
    if on.type == "cuda" and distributed.world()[1] > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = model.to(on, memory_format=torch.channels_last)
    if config.frozen_views:
        images = frozen_features(model, archive, split, config, on)
    else:
        images = Images(archive.images, on, keep=config.loss != "frozen")
    if config.loss != "frozen":
        owner = f"{config.run_id}@{source.key}"
        session = _Training(config, archive, split, model, images, run.folder, on, owner)
        session.fit(progress)
    if distributed.world()[0]:
        return None  # the first process measures
    z, h = _embed(config, model, images, split.test, on)
    features = evaluate(h, y_test)
    if config.loss == "frozen":  # an untrained head says nothing
        return features, None, {"embeddings": {"z": h}}
    trained = "head." if config.frozen_views else ""
    kept = {k: v for k, v in model.state_dict().items() if k.startswith(trained)}
    return evaluate(z, y_test), features, {"weights": kept, "embeddings": {"z": z}}


def _embed(
    config: Config,
    model: RetrievalNet,
    source: Images | Features,
    index: np.ndarray,
    on: torch.device,
) -> tuple[Tensor, Tensor]:
    """As `embedding.embed`, of the images `index`."""
    if isinstance(source, Features):
        return source.embed(model, index)
    precision = resolve_precision(config.precision, on, config.image_size)
    return embed(model, source, index, device=on, precision=precision)


@dataclass
class _Training:
    """The state of a training, and how it moves on."""

    config: Config
    archive: Archive
    split: Split
    model: RetrievalNet
    source: Images | Features  #: features where only the head trains
    folder: Path
    on: torch.device
    owner: str = ""  #: whose checkpoints it reads and writes: a configuration and a content

    def __post_init__(self) -> None:
        config, labels = self.config, self.archive.labels
        self.rank, self.processes = distributed.world()
        self.rows, self.y_train = torch.from_numpy(self.split.train), labels[self.split.train]
        if min(config.batch_size, len(self.y_train)) < self.processes:
            raise ValueError(
                f"{self.processes} processes cannot share batches of {config.batch_size} of "
                f"{len(self.y_train)} training images; start fewer, or raise batch_size"
            )
        self.stats = LabelStatistics.from_labels(self.y_train, self.archive.label_names)
        self.loss = build_loss(
            config.loss, self.stats, embedding_dim=config.embedding_dim, **config.loss_params
        ).to(self.on)
        self.stored = isinstance(self.source, Features)
        self.network = self.model.head if self.stored else self.model  # what trains
        self.parameters = [*self.network.parameters(), *self.loss.parameters()]
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.precision = resolve_precision(config.precision, self.on, config.image_size)
        if self.on.type == "cuda":
            torch.backends.cudnn.deterministic = True  # the same bits in every run
        self.y = torch.from_numpy(labels).to(self.on)
        self.modules: dict[str, nn.Module] = {"model": self.network, "loss": self.loss}
        self.queue, self.form = None, LOSSES[config.loss].queue
        if config.queue:
            if self.form is None:
                raise ValueError(
                    f"{config.loss} has no queue in its original form; set queue=0. These have: "
                    + ", ".join(name for name, loss in LOSSES.items() if loss.queue)
                )
            self.queue = self.modules["queue"] = MomentumQueue(
                self.network, config.queue, config.embedding_dim, labels.shape[1]
            )
        self.history: list[dict[str, Any]] = []

    def fit(self, progress: bool) -> None:
        config = self.config
        self.history = checkpoint.restore(self.folder, self.owner, self.modules, self.optimizer)
        images = sum(map(len, self.batches(0)))  # of an epoch, for the progress bar
        done = len(self.history)
        with Progress(
            self.folder.name, "images", done * images, config.epochs * images, progress
        ) as bar:
            with sigterm() as asked, tensorboard(self.folder, done) as write:
                for epoch in range(done, config.epochs):
                    start = time.perf_counter()
                    row = {"epoch": epoch + 1, **self.epoch(epoch, bar, asked)}
                    if self.rank == 0:
                        row |= self.validate()
                        bar.note(f"loss {row['loss']:.3f}, mAP {row['mAP(sim)@5000']:.3f}")
                    row["seconds"] = time.perf_counter() - start
                    if epoch == done:  # of this process
                        row["session"] = {"epoch": epoch + 1, **_environment(config, self.on)}
                    self.history.append(row)
                    if self.rank == 0:
                        self.save()
                        write(row)
        if self.rank == 0:
            table = pd.DataFrame(self.history).drop(columns=LOG_ONLY, errors="ignore")
            store.write_csv(self.folder / "history.csv", table)

    def save(self) -> None:
        if len(self.history) < self.config.epochs:
            checkpoint.save(self.folder, self.owner, self.history, self.modules, self.optimizer)
        store.write_lines(self.folder / "log.jsonl", self.history)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The epoch's batches of positions in the training split."""
        order = SAMPLERS[self.config.sampler]
        return order(self.y_train, self.config.batch_size, seed=self.config.seed, epoch=epoch)

    def epoch(self, epoch: int, bar: Progress, asked: Event) -> dict[str, Any]:
        """One pass over the training split; its row of the log, so far."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout, where a backbone has it
        lr = learning_rate(config, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        views = 2 if self.queue else config.views
        if self.stored:
            varied = self.source.of_epoch(epoch, views).to(self.on)
        else:
            varied = draw(len(self.source), seed=config.seed, epoch=epoch, views=views)[self.rows]
        batches = self.batches(epoch)
        self.network.train()
        start = time.perf_counter()
        losses, norms = [], []
        own = [self.rows[batch].tensor_split(self.processes)[self.rank] for batch in batches]
        coming = own if self.stored else self.source.ahead(own)
        for batch, _ in zip(batches, coming, strict=True):
            loss, norm = self.step(batch, varied)
            losses.append(loss)
            norms.append(norm)
            bar.advance(len(batch))
            if asked.is_set():
                self.leave(epoch)
        # the only synchronisation with the device in an epoch
        losses, norms = torch.stack(losses).cpu(), torch.stack(norms).cpu()
        seconds = time.perf_counter() - start
        bad = (~(losses.isfinite() & norms.isfinite())).nonzero()
        if len(bad):
            i = int(bad[0])
            self.fail(epoch, i, lr, self.rows[batches[i]], losses[i].item(), norms[i].item())
        return {
            "lr": lr,
            "loss": losses.mean().item(),
            "gradient_norm": norms.mean().item(),
            "steps": len(batches),
            "largest_loss": losses.max().item(),
            "clipped": (norms > config.clip_norm).double().mean().item(),
            "images_per_second": round(sum(map(len, batches)) / seconds, 1),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def leave(self, epoch: int) -> NoReturn:
        saved = f"the state after epoch {epoch} is saved, and" if epoch else "no epoch was over;"
        say(
            f"{self.folder.name}: SIGTERM in epoch {epoch + 1} of {self.config.epochs}; {saved} "
            "the same command goes on from there"
        )
        raise SystemExit(0)

    def fail(
        self, epoch: int, batch: int, lr: float, index: Tensor, loss: float, norm: float
    ) -> NoReturn:
        """Say all that helps to find out why a number of this batch is not finite."""
        config, names = self.config, [self.archive.names[i] for i in index]
        what = f"gradient norm is {norm}" if math.isfinite(loss) else f"loss is {loss}"
        temperatures = ""
        if LOSSES[config.loss].function.weights:
            y = self.archive.labels[index.numpy()]
            _, T = pair_weights(config.loss, y, self.stats, **config.loss_params)
            temperatures = f"temperatures {T.min():.3g} to {T.max():.3g}, "
        raise FloatingPointError(
            f"{self.folder.name}: {what} in epoch {epoch + 1}, batch {batch + 1}, learning rate "
            f"{lr:.3g}, {temperatures}images {', '.join(names[:8])} and {max(len(names) - 8, 0)} "
            "more; lower the learning rate or raise the temperature"
        )

    def step(self, batch: Tensor, varied: Tensor) -> tuple[Tensor, Tensor]:
        """One update on the training images `batch` (B,); its loss and gradient norm unclipped.

        varied: (n, ...) what differs between views of the training images, for one view or two:
        `draw`'s numbers, or stored features. Each process embeds its part of the images, and has
        the loss of all of them.
        """
        varied = varied[batch.tensor_split(self.processes)[self.rank]]
        index = self.rows[batch]
        parts = index.tensor_split(self.processes)
        own = parts[self.rank]
        first, *second = varied.chunk(2 if self.queue else self.config.views, dim=1)
        keys = {}
        if self.queue is not None:
            self.queue.follow(self.network, self.config.momentum)
            with torch.no_grad():
                new = self.gather(self.embed(self.queue.encoder, own, *second), parts)
            labels = self.y[index.to(self.on)]
            keys = self.queue.contrast(self.form, new, labels)
            self.queue.enqueue(new, labels)
            second = []
        views = 1 + len(second)
        parts = [part.repeat(views) for part in parts]
        z = self.embed(self.network, parts[self.rank], torch.cat([first, *second]))
        loss = self.loss(self.gather(z, parts), self.y[torch.cat(parts).to(self.on)], **keys)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        distributed.average_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        return loss.detach(), norm

    def gather(self, z: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """The embeddings of all processes' parts of a batch."""
        return distributed.gather(z, [len(part) for part in parts])

    def embed(self, network: nn.Module, index: Tensor, varied: Tensor) -> Tensor:
        """Embeddings (B, D) of the images `index` (B,), each in the view that `varied` gives it."""

        def forward(index: Tensor, uniform: Tensor) -> Tensor:
            images = augment(self.source[index], uniform)
            with autocast(self.on, self.precision):
                return network(images.contiguous(memory_format=torch.channels_last))

        inputs = (varied,) if self.stored else (index, varied.to(self.on))
        function = network if self.stored else forward
        return in_parts(function, network, self.config.micro_batch, *inputs)

    def validate(self) -> dict[str, float]:
        index = self.split.validation
        z, _ = _embed(self.config, self.model, self.source, index, self.on)
        return {**evaluate(z, self.archive.labels[index]).summary(), **collapse(z)}
