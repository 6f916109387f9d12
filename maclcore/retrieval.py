"""Embed an archive, rank it for a query, search it by example."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maclcore.model import RetrievalNet, autocast


@torch.inference_mode()
def embed(
    model: RetrievalNet,
    images: np.ndarray | Tensor,
    index: np.ndarray | Tensor | None = None,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
) -> tuple[Tensor, Tensor]:
    """Unit embeddings z (N, D) and pooled backbone features h (N, F), float32 on the CPU.

    images: (…, 3, H, W) uint8; `index` selects the N of them to embed (None: all). The model is
    put into evaluation mode, so that the result of an image does not depend on its batch.
    """
    device = torch.device(device)
    images = torch.as_tensor(images)
    rows = torch.arange(len(images)) if index is None else torch.as_tensor(index)
    model.eval()
    z, h = [], []
    for batch in rows.split(batch_size):
        pixels = images[batch.to(images.device)].to(device).float() / 255
        with autocast(device, precision):
            features = model.features(pixels.contiguous(memory_format=torch.channels_last))
            z.append(model.project(features).cpu())
        h.append(features.float().cpu())
    return torch.cat(z), torch.cat(h)


def search(z_query: Tensor, z_gallery: Tensor, k: int = 10) -> tuple[Tensor, Tensor]:
    """The k nearest gallery rows of each query by cosine: indices (Q, K), cosines (Q, K)."""
    scores = F.normalize(z_query, dim=1) @ F.normalize(z_gallery, dim=1).T
    order = rank(scores, k)
    return order, scores.gather(1, order)


def rank(scores: Tensor, k: int | None = None, exclude: Tensor | None = None) -> Tensor:
    """Gallery indices in order of falling score, (Q, G) -> (Q, K) int64.

    Equal scores keep the gallery's order: the lower index comes first, on every device and for
    every `k`. `k` shortens the lists (None: the whole gallery). `exclude (Q,)` names one gallery
    item for each query that its list must not contain (the query itself, in leave-one-out); the
    whole list then has G - 1 items. Scores are compared as float32 and must be finite.
    """
    items = scores.shape[1] - (exclude is not None)
    k = items if k is None else min(k, items)
    # A float32 read as an integer sorts as the float does once negative values are flipped; score
    # and index in one 64-bit key make every key distinct, so any sort or top-k is a stable one.
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0: -0.0 ties with 0.0
    key = (~(bits ^ ((bits >> 31) & 0x7FFFFFFF))).long()
    key <<= 32
    key |= torch.arange(scores.shape[1], device=scores.device)
    if exclude is not None:
        key.scatter_(1, exclude.to(key.device)[:, None], torch.iinfo(torch.int64).max)
    if k < items // 8:
        key = key.topk(k, largest=False).values
    elif key.device.type == "cpu":
        key = torch.from_numpy(np.sort(key.numpy(), axis=1))  # vectorised: 10x torch's sort
    else:
        key = key.sort(dim=1).values
    return key[:, :k] & 0xFFFFFFFF
