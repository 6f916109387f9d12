"""Backbones of torchvision: its classification models."""

from urllib.error import URLError

import torchvision.models
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from maclcore.config import nearest

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def known(backbone: str) -> str:
    """`backbone`, if torchvision has it; else a ValueError that names the nearest."""
    names = list_models(module=torchvision.models)
    if backbone not in names:
        raise ValueError(f"unknown backbone {backbone!r}{nearest(backbone, names)}")
    return backbone


def content(backbone: str) -> str:
    """torchvision's own name for the weights that "imagenet" stands for."""
    return str(get_model_weights(known(backbone)).DEFAULT)


def build(backbone: str, weights: str, image_size: int) -> nn.Module:
    """The model with its classifier: weights "imagenet", "none", or a file's, loaded later."""
    pretrained = get_model_weights(backbone).DEFAULT if weights == "imagenet" else None
    size = {}
    if backbone.startswith("vit_"):
        size = {"image_size": image_size}
        patch = int(backbone.rpartition("_")[2])
        if image_size % patch:
            raise ValueError(
                f"{backbone} takes no images of {image_size} px: its patches have {patch} px, "
                f"which do not divide {image_size}"
            )
    # residual branches that a file lacks pass on what comes in
    residual = any(kind in backbone for kind in ("resnet", "resnext"))
    partial = residual and weights not in ("imagenet", "none")
    zero = {"zero_init_residual": True} if partial else {}
    try:
        return get_model(backbone, weights=pretrained, **zero, **size)
    except (URLError, ConnectionError, TimeoutError) as error:
        raise OSError(
            f"the ImageNet weights of {backbone} cannot be downloaded ({error}): connect once, or "
            "give a safetensors file by weights=FILE, or weights=none for random ones"
        ) from error


def fitted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A file's tensors as `model` names them: as they are."""
    return state


def first_layers(model: nn.Module) -> list[str]:
    """Names of the layers that see the image."""
    convolutions = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    return convolutions[:1]


def statistics(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the three channels that `model` is made for."""
    return IMAGENET_MEAN, IMAGENET_STD


def remove_classifier(model: nn.Module, backbone: str) -> int:
    """Replace the layer that gives the 1,000 logits by the identity; its input width."""
    for auxiliary in ("AuxLogits", "aux1", "aux2"):
        if hasattr(model, auxiliary):
            setattr(model, auxiliary, None)
            setattr(model, "aux_logits", False)  # noqa: B010
    layers = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == 1000
    ]
    if not layers:
        raise ValueError(f"{backbone} has no final layer of 1,000 classes to replace")
    path, layer = layers[-1]
    model.set_submodule(path, nn.Identity())
    return layer.weight.shape[1]
