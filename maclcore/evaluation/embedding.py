"""Embeddings of an archive."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from maclcore.data.stream import Images
from maclcore.models.network import RetrievalNet, autocast


@torch.inference_mode()
def embed(
    model: RetrievalNet,
    images: np.ndarray | Tensor | Images,
    index: np.ndarray | Tensor | None = None,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    transform: Callable[[Tensor, Tensor], Tensor] = lambda pixels, index: pixels.float() / 255,
) -> tuple[Tensor, Tensor]:
    """Unit embeddings z (N, D) and pooled backbone features h (N, F), float32 on the CPU.

    images: (…, 3, H, W) uint8, streamed if they are memory-mapped; `index` selects the N of them to
    embed (None: all). The model is put into evaluation mode, so that the result of an image does
    not depend on its batch. `transform(pixels, index)` makes its input, (B, 3, H, W) in [0, 1], of
    a batch and its part of `index`.
    """
    device = torch.device(device)
    images = images if isinstance(images, Images) else Images(images, device)
    rows = torch.arange(len(images)) if index is None else torch.as_tensor(index)
    model.eval()
    z, h = [], []
    for batch in images.ahead(rows.split(batch_size)):
        pixels = transform(images[batch], batch)
        with autocast(device, precision):
            features = model.features(pixels.contiguous(memory_format=torch.channels_last))
            z.append(model.project(features).cpu())
        h.append(features.float().cpu())
    return torch.cat(z), torch.cat(h)
