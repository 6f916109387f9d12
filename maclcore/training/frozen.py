"""Backbone features of augmented views, computed once, so that only the head trains."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maclcore import paths
from maclcore.config import Config
from maclcore.data import Archive, Split
from maclcore.data.augment import RULE, augment, draw
from maclcore.data.cache import cached, save
from maclcore.data.stream import Images
from maclcore.evaluation.embedding import embed
from maclcore.models.network import RetrievalNet, resolve_precision


class Features(NamedTuple):
    """What the head is given in place of images: float32, memory-mapped."""

    clean: np.ndarray  #: (N, F) of the archive's images as they are
    views: np.ndarray  #: (V, n, F) of V augmented views of the n training images

    @torch.inference_mode()
    def embed(self, model: RetrievalNet, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """As `embedding.embed`."""
        h = torch.from_numpy(self.clean[index])
        return model.eval().project(h.to(model.mean.device)).cpu(), h

    def of_epoch(self, epoch: int, views: int) -> Tensor:
        """(n, views * F): the stored views take turns."""
        turns = [(epoch * views + view) % len(self.views) for view in range(views)]
        return torch.from_numpy(np.concatenate([self.views[turn] for turn in turns], axis=1))


def frozen_features(
    model: RetrievalNet, archive: Archive, split: Split, config: Config, on: torch.device
) -> Features:
    """Of the archive's images and of `config.frozen_views` views of those in `split.train`.

    View v is augmented as in epoch v of a training from `config.seed`. Computed once for a
    backbone's weights, images, split and seed, by one process while others wait; kept in the cache.
    """
    precision = resolve_precision(config.precision, on, config.image_size)
    digest = hashlib.sha256(split.train.tobytes())
    for name, value in model.backbone.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    rule = [archive.fingerprint, config.image_size, config.frozen_views, config.seed, precision]
    rule += RULE
    digest.update(json.dumps(rule).encode())
    target = paths.cache_root() / f"features-{digest.hexdigest()[:16]}.npy"
    write = partial(_write, model=model, archive=archive, split=split, config=config, on=on)
    clean, views = np.split(cached(target, write), [len(archive)])
    return Features(clean, views.reshape(config.frozen_views, len(split.train), -1))


def _write(
    temporary: Path,
    model: RetrievalNet,
    archive: Archive,
    split: Split,
    config: Config,
    on: torch.device,
) -> None:
    precision = resolve_precision(config.precision, on, config.image_size)
    look = partial(embed, model, Images(archive.images, on), device=on, precision=precision)
    parts = [look()[1]]
    for view in range(config.frozen_views):
        varied = draw(len(archive), seed=config.seed, epoch=view).to(on)
        _, features = look(split.train, transform=lambda x, i, v=varied: augment(x, v[i.to(on)]))
        parts.append(features)
    save(temporary, torch.cat(parts).numpy())
