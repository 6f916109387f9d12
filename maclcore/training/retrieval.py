"""Training for retrieval, the paper's: a network, a loss of the registry over each batch.

As options two views of an image, and a momentum encoder with a queue of keys.
"""

from collections.abc import Iterator, Sequence

import torch
from safetensors import safe_open
from torch import Tensor

from maclcore.config import Config
from maclcore.data.stream import Images
from maclcore.evaluation.reference import REFERENCES
from maclcore.evaluation.retrieval import evaluate
from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, WEAK_LOSSES, build_loss, pair_weights
from maclcore.models.network import HiddenHead, RetrievalNet, check_size, synchronised
from maclcore.models.weights import weights_content
from maclcore.progress import say
from maclcore.store import Run
from maclcore.store.identity import Source
from maclcore.training import distributed
from maclcore.training.inputs import Inputs, Pixels, frozen_features
from maclcore.training.loop import Method, Outcome
from maclcore.training.momentum import MomentumQueue


class Retrieval(Method):
    """The loss of `source.config` on the embeddings of a batch, of all processes together."""

    headline = "mAP(sim)@5000"

    def __init__(self, source: Source, on: torch.device, progress: bool = False) -> None:
        config, archive = source.config, source.archive
        self.source, self.on = source, on
        self.model, self.inputs = network(source, on, progress)
        self.rank, self.processes = distributed.world()
        self.rows = torch.from_numpy(source.split.train)
        self.y_train = source.known[source.split.train]
        self.y = torch.from_numpy(source.known).to(on)
        self.stats = LabelStatistics.from_labels(self.y_train, archive.label_names)
        self.loss = build_loss(
            config.loss, self.stats, embedding_dim=config.embedding_dim, **config.loss_params
        ).to(on)
        self.trained = self.inputs.trained(self.model)
        self.modules = {"model": self.trained, "loss": self.loss}
        self.queue, self.form = None, LOSSES[config.loss].queue
        if config.queue:
            if self.form is None:
                raise ValueError(
                    f"{config.loss} has no queue in its original form; set queue=0. These have: "
                    + ", ".join(name for name, loss in LOSSES.items() if loss.queue)
                )
            self.queue = self.modules["queue"] = MomentumQueue(
                self.trained, config.queue, config.embedding_dim, archive.labels.shape[1]
            )
        self.views = 2 if config.queue else config.views
        #: the training image (n,) that each one's second view shows: itself
        self.second = torch.arange(len(self.rows))

    def begin(self, epoch: int) -> None:
        self.varied = self.inputs.of_epoch(epoch, self.views)

    def ahead(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        own = [self.parts(batch)[self.rank] for batch in batches]
        shown = [torch.cat([part, self.second[part]]).unique() for part in own]
        for batch, _ in zip(batches, self.inputs.ahead([self.rows[s] for s in shown]), strict=True):
            yield batch

    def parts(self, batch: Tensor) -> Sequence[Tensor]:
        """Each process's part of a batch."""
        return batch.tensor_split(self.processes)

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """Each process embeds its part of the images, and has the loss of all of them."""
        z, y, keys = self.seen(batch)
        return {"loss": self.loss(z, y, **keys)}

    def seen(self, batch: Tensor, swapped: bool = False) -> tuple[Tensor, Tensor, dict]:
        """What a loss is given for a batch: embeddings z, labels y, and keys if there is a queue.

        Without one, z and y have the batch in its first view, and then in its second. `swapped`
        exchanges the views.
        """
        views = list(enumerate([batch, self.second[batch]][: self.views]))  # and whom each shows
        views = views[::-1] if swapped else views
        sizes = [len(part) for part in self.parts(batch)]
        y = [self.y[self.rows[shown].to(self.on)] for _, shown in views]
        given = [self.given(view, self.parts(shown)[self.rank]) for view, shown in views]
        if self.queue is not None:
            with torch.no_grad():
                new = self.inputs.through(self.queue.encoder, *given[1])
            new = distributed.gather(new, sizes)
            keys = self.queue.contrast(self.form, new, y[1])
            self.queue.enqueue(new, y[1])
            return (
                distributed.gather(self.inputs.through(self.trained, *given[0]), sizes),
                y[0],
                keys,
            )
        index, varied = map(torch.cat, zip(*given, strict=True))
        z = self.inputs.through(self.trained, index, varied).tensor_split(self.views)
        return torch.cat([distributed.gather(view, sizes) for view in z]), torch.cat(y), {}

    def given(self, view: int, images: Tensor) -> tuple[Tensor, Tensor]:
        """Index and augmentation of some training images in one of the epoch's views."""
        return self.rows[images], self.varied.chunk(self.views, dim=1)[view][images]

    def after_step(self) -> None:
        if self.queue is not None:
            self.queue.follow(self.trained, self.source.config.momentum)

    def validate(self) -> dict[str, float]:
        index = self.source.split.validation
        z = self.loss.settled(self.inputs.embed(self.model, index)[0])
        return {**evaluate(z, self.source.known[index]).summary(), **collapse(z)}

    def explain(self, batch: Tensor) -> str:
        config = self.source.config
        if not LOSSES[config.loss].function.weights:
            return ""
        y = self.y_train[batch.numpy()]
        _, T = pair_weights(config.loss, y, self.stats, **config.loss_params)
        return f"temperatures {T.min():.3g} to {T.max():.3g}, "

    def outcome(self) -> Outcome:
        """How good it is on the test split, and what to keep of it."""
        if self.loss.lengths is not None:  # a loss in parts: now they get their shares
            self.model.head.stretch(self.loss.lengths)
        index, frozen = self.source.split.test, self.source.config.frozen_views
        y, (z, h) = self.source.archive.labels[index], self.inputs.embed(self.model, index)
        state, trained = self.model.state_dict(), "head." if frozen else ""
        kept = {name: value for name, value in state.items() if name.startswith(trained)}
        return Outcome(evaluate(z, y), evaluate(h, y), {"weights": kept, "embeddings": {"z": z}})


def network(source: Source, on: torch.device, progress: bool) -> tuple[RetrievalNet, Inputs]:
    """The network of a configuration as it starts, and what it is given."""
    config = source.config
    torch.manual_seed(config.seed)
    model = _fresh(config, config.weights, len(source.archive.bands))
    check_size(model, config.backbone, config.image_size)
    if model.fresh and progress:
        say(f"{config.weights} lacks, so freshly initialised: {', '.join(model.fresh)}")
    if on.type == "cuda" and distributed.world()[1] > 1:
        model = synchronised(model)
    model = model.to(on, memory_format=torch.channels_last)
    if config.frozen_views:
        return model, frozen_features(model, source, on)
    images = Images(source.archive.images, on, keep=config.loss not in REFERENCES)
    return model, Pixels(images, source, on)


def _fresh(config: Config, weights: str, channels: int) -> RetrievalNet:
    return RetrievalNet(
        config.backbone, weights, config.embedding_dim, config.image_size, channels,
        config.first_layer,
    )  # fmt: skip


def load_model(run: Run) -> RetrievalNet:
    """The trained network of a finished run, in evaluation mode on the CPU.

    Of a training that tells labels its embeddings are what the last layer tells them by, as the run
    was measured.
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
        bands = run.result["archive"].get("bands")
        model = _fresh(config, weights, len(bands.split(",")) if bands else 3)
    with safe_open(file, framework="pt") as stored:
        state = {k: stored.get_tensor(k) for k in stored.keys()}  # noqa: SIM118
        of = stored.metadata()
    if "split" in identity and of != identity:
        raise ValueError(f"{file} is of another run, or of other content; remove it")
    if config.loss in WEAK_LOSSES:
        width, labels = state["head.0.weight"].shape[1], len(state["head.2.weight"])
        model.head = HiddenHead(width, labels)
    model.load_state_dict(state, strict=not config.frozen_views)
    return model.eval()


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
