"""The network of the paper (§4.2): a torchvision backbone and a two-layer projection head."""

import contextlib
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from maclcore.models.weights import known, weights_file

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Head(nn.Sequential):
    """Features (N, F) to unit embeddings (N, D), float32 whatever the autocast."""

    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, embedding_dim)
        )
        for layer in (self[0], self[2]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(super().forward(features).float(), dim=1)


class RetrievalNet(nn.Module):
    """Images to unit embeddings: backbone, global pooling, Linear-ReLU-Linear, L2 norm.

    backbone: a classification model of torchvision; its last layer is replaced by the head.
    weights: "imagenet" (torchvision's, downloaded once), "none", or a safetensors file in
        torchvision's naming, by path or by name in the data folder's `weights/`. A file may be
        partial: `fresh` lists what it lacks, and residual branches it lacks start at zero, so
        that a ResNet computes the features of the layers that it does have.
    embedding_dim: D.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        weights: str = "imagenet",
        embedding_dim: int = 256,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        self.fresh: list[str] = []
        known(backbone)
        if weights in ("imagenet", "none"):
            self.backbone = _from_torchvision(backbone, weights, image_size)
        else:
            self.backbone, self.fresh = _from_file(backbone, weights_file(weights), image_size)
        width = _remove_classifier(self.backbone, backbone)
        self.head = Head(width, embedding_dim)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Pooled backbone features (N, F) of images (N, 3, H, W): uint8, or float in [0, 1]."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        return self.backbone((images - self.mean) / self.std)

    def project(self, features: Tensor) -> Tensor:
        """Features (N, F) to unit embeddings (N, D)."""
        return self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.project(self.features(images))


@torch.no_grad()
def check_size(model: nn.Module, backbone: str, image_size: int) -> None:
    """ValueError if `model` takes no images of that size; leaves its state as it is."""
    training, device = model.training, next(model.parameters()).device
    try:
        model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"{backbone} takes no images of {image_size} px ({str(error).splitlines()[0]}): "
            "choose another image_size, or another backbone"
        ) from error
    finally:
        model.train(training)


def resolve_precision(precision: str, device: torch.device, image_size: int) -> str:
    """What "auto" means here: bf16 where the hardware multiplies it (AMX, AVX-512), else fp32.

    Small images do not fill those units: on two cores with AMX, bf16 gains nothing at 32 px.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast and image_size >= 48 else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _from_torchvision(backbone: str, weights: str, image_size: int) -> nn.Module:
    pretrained = get_model_weights(backbone).DEFAULT if weights == "imagenet" else None
    try:
        return get_model(backbone, weights=pretrained, **_size(backbone, image_size))
    except (URLError, ConnectionError, TimeoutError) as error:
        raise OSError(
            f"the ImageNet weights of {backbone} cannot be downloaded ({error}): connect once, or "
            "give a safetensors file by weights=FILE, or weights=none for random ones"
        ) from error


def _size(backbone: str, image_size: int) -> dict[str, int]:
    return {"image_size": image_size} if backbone.startswith("vit_") else {}


def _from_file(backbone: str, file: Path, image_size: int) -> tuple[nn.Module, list[str]]:
    residual = any(kind in backbone for kind in ("resnet", "resnext"))
    zero = {"zero_init_residual": True} if residual else {}
    model = get_model(backbone, weights=None, **zero, **_size(backbone, image_size))
    try:
        with safe_open(file, framework="pt") as stored:
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is not a readable safetensors file ({error})") from error
    own = model.state_dict()
    wrong = [
        f"{name} {tuple(value.shape)}"
        + (f", expected {tuple(own[name].shape)}" if name in own else ", no such tensor")
        for name, value in state.items()
        if name not in own or own[name].shape != value.shape
    ]
    if wrong:
        raise ValueError(
            f"{file.name} does not hold weights of {backbone}: {len(wrong)} of {len(state)} tensors"
            f" do not fit, such as {'; '.join(wrong[:3])}"
        )
    model.load_state_dict(state, strict=False)
    return model, sorted(set(own) - set(state))


def _remove_classifier(model: nn.Module, name: str) -> int:
    """Replace the layer that gives the 1,000 logits by the identity; its input width."""
    for auxiliary in ("AuxLogits", "aux1", "aux2"):
        if hasattr(model, auxiliary):
            setattr(model, auxiliary, None)
            model.aux_logits = False
    layers = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == 1000
    ]
    if not layers:
        raise ValueError(f"{name} has no final layer of 1,000 classes to replace")
    path, layer = layers[-1]
    model.set_submodule(path, nn.Identity())
    return layer.weight.shape[1]
