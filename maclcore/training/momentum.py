"""A momentum encoder and its queue of keys (He et al., MoCo, CVPR 2020), as options of training."""

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def follow(slow: nn.Module, network: nn.Module, momentum: float) -> None:
    """θ_slow = m θ_slow + (1 - m) θ, for parameters alone."""
    own = list(slow.parameters())
    torch._foreach_lerp_(own, [p.detach() for p in network.parameters()], 1 - momentum)


class MomentumQueue(nn.Module):
    """A slow copy of a network, and the last `size` keys it gave with their labels (0: none).

    As in the released code of MulSupCon: only parameters follow the network, buffers of BatchNorm
    run freely; the queue is used only once it has been full; and it is read before the batch is
    enqueued, so that no image of the batch is met twice. All its state is in `state_dict()`.
    """

    def __init__(self, network: nn.Module, size: int, embedding_dim: int, labels: int) -> None:
        super().__init__()
        device = next(network.parameters()).device
        self.encoder = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("keys", torch.zeros(size, embedding_dim, device=device))
        self.register_buffer("labels", torch.zeros(size, labels, dtype=torch.bool, device=device))
        self.register_buffer("seen", torch.tensor(0))  # on the CPU, where looking is free

    def follow(self, network: nn.Module, momentum: float) -> None:
        follow(self.encoder, network, momentum)

    def contrast(self, form: str, keys: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What a loss is given for a batch's keys (M, D) and labels (M, L).

        form: "moco", the batch's keys and the queue; "joins", the queue alone, beside the batch's
        own images. Until the queue is full there is none.
        """
        full = self.seen >= len(self.keys)
        parts = [(keys, labels)] if form == "moco" else []
        parts += [(self.keys, self.labels)] if full else []
        if not parts:
            return {}
        keys, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        return {"keys": keys, "key_labels": labels}

    def enqueue(self, keys: Tensor, labels: Tensor) -> None:
        """The batch's keys come in, the oldest go out."""
        # counted from the front: the last 0 of a list are not `[-0:]`, which is all of it
        self.keys = torch.cat([self.keys, keys.detach()])[len(keys) :]
        self.labels = torch.cat([self.labels, labels])[len(keys) :]
        self.seen += len(keys)
