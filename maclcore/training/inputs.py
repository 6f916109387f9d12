"""What a network is given in training: an archive's images, augmented anew in every epoch, or
stored features of its own backbone, where the head alone trains.

`Pixels` and `Features` have the same face, so that a method need not ask which of them it has.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from maclcore import paths
from maclcore.config import Config
from maclcore.data.augment_bands import augmentation
from maclcore.data.cache import cached, save
from maclcore.data.stream import Images
from maclcore.evaluation.embedding import embed
from maclcore.models.network import RetrievalNet, autocast, resolve_precision
from maclcore.store.identity import Source
from maclcore.training.gradcache import in_parts


class Pixels:
    """Images under augmentation; all of the network trains."""

    def __init__(self, images: Images, source: Source, on: torch.device) -> None:
        self.images, self.config, self.on = images, source.config, on
        self.rows = torch.from_numpy(source.split.train)
        self.augmentation = augmentation(source.archive.bands)
        self.precision = precision(source.config, on)

    def trained(self, model: nn.Module) -> nn.Module:
        """The part of a network that trains."""
        return model

    def of_epoch(self, epoch: int, views: int) -> Tensor:
        """(n, views * U): what differs between the views of the n training images in an epoch."""
        drawn = self.augmentation.draw(
            len(self.images), seed=self.config.seed, epoch=epoch, views=views
        )
        return drawn[self.rows]

    def ahead(self, batches: Sequence[Tensor]) -> Iterable[Tensor]:
        """Batches of images (B,), each when it has been read."""
        return self.images.ahead(batches)

    def through(self, network: nn.Module, index: Tensor, varied: Tensor) -> Tensor:
        """`network`'s output for the images `index` (B,), each in the view of its row of `varied`,
        `config.micro_batch` at a time."""

        def forward(index: Tensor, uniform: Tensor) -> Tensor:
            images = self.augmentation.augment(self.images[index], uniform)
            with autocast(self.on, self.precision):
                return network(images.contiguous(memory_format=torch.channels_last))

        return in_parts(forward, network, self.config.micro_batch, index, varied.to(self.on))

    def embed(self, model: RetrievalNet, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """As `embedding.embed`, of images as they are."""
        return embed(model, self.images, index, device=self.on, precision=self.precision)


@dataclass(frozen=True)
class Features:
    """The backbone's features in place of images, float32 and memory-mapped; the head trains."""

    clean: np.ndarray  #: (N, F) of the archive's images as they are
    views: Sequence[np.ndarray]  #: V of (n, F), of an augmented view each of the training images
    micro_batch: int | None = None
    on: torch.device = torch.device("cpu")

    def with_clean(self, train: np.ndarray) -> "Features":
        """The training images as they are take turns with their views.

        Features of augmented and of clean images differ by a shift that is the same for all images.
        To a classifier that has seen views alone it is a bias: it is asked about clean images.
        """
        return replace(self, views=[*self.views, self.clean[train]])

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (F,) over the views; 1 for a feature that does not vary."""
        mean = np.mean([view.mean(axis=0, dtype=float) for view in self.views], axis=0)
        variance = np.mean([np.square(v - mean).mean(axis=0) for v in self.views], axis=0)
        spread = np.sqrt(np.where(variance > 0, variance, 1))
        return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()

    def trained(self, model: RetrievalNet) -> nn.Module:
        return model.head

    def of_epoch(self, epoch: int, views: int) -> Tensor:
        """(n, views * F): the stored views take turns."""
        turns = [(epoch * views + view) % len(self.views) for view in range(views)]
        return torch.from_numpy(np.concatenate([self.views[t] for t in turns], axis=1)).to(self.on)

    def ahead(self, batches: Sequence[Tensor]) -> Iterable[Tensor]:
        return batches

    def through(self, network: nn.Module, index: Tensor, varied: Tensor) -> Tensor:
        return in_parts(network, network, self.micro_batch, varied)

    @torch.inference_mode()
    def embed(self, model: RetrievalNet, index: np.ndarray) -> tuple[Tensor, Tensor]:
        h = torch.from_numpy(self.clean[index])
        return model.eval().project(h.to(self.on)).cpu(), h


Inputs = Pixels | Features


def precision(config: Config, on: torch.device) -> str:
    """What a configuration's `precision` means on a device: bf16 or fp32."""
    return resolve_precision(config.precision, on, config.image_size)


def frozen_features(model: RetrievalNet, source: Source, on: torch.device) -> Features:
    """Of the archive's images and of `config.frozen_views` views of its training images.

    View v is augmented as in epoch v of a training from `config.seed`. Computed once for a
    backbone's weights, images, split and seed, by one process while others wait; kept in the cache.
    """
    config, train = source.config, source.split.train
    digest = hashlib.sha256(train.tobytes())
    for name, value in model.backbone.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    rule = [source.archive.fingerprint, config.image_size, config.frozen_views, config.seed]
    rule += [precision(config, on), *augmentation(source.archive.bands).rule]
    digest.update(json.dumps(rule).encode())
    target = paths.cache_root() / f"features-{digest.hexdigest()[:16]}.npy"
    write = partial(_write, model=model, source=source, on=on)
    clean, views = np.split(cached(target, write), [len(source.archive)])
    views = views.reshape(config.frozen_views, len(train), -1)
    return Features(clean, views, config.micro_batch, on)


def _write(temporary: Path, model: RetrievalNet, source: Source, on: torch.device) -> None:
    config, archive = source.config, source.archive
    images = Images(archive.images, on)
    look = partial(embed, model, images, device=on, precision=precision(config, on))
    parts, change = [look()[1]], augmentation(archive.bands)
    for view in range(config.frozen_views):
        varied = change.draw(len(archive), seed=config.seed, epoch=view).to(on)
        _, features = look(
            source.split.train, transform=lambda x, i, v=varied: change.augment(x, v[i.to(on)])
        )
        parts.append(features)
    save(temporary, torch.cat(parts).numpy())
