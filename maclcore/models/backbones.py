"""A backbone for images of any number of channels: its network, first layer and first weights."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maclcore.models.weights import library, read_weights, weights_file


class Backbone(NamedTuple):
    """A network from images to pooled features (N, width), and what belongs to it."""

    module: nn.Module
    width: int
    #: names of tensors that its weights lacked
    fresh: list[str]
    #: of the images that it is made for, a number a channel
    mean: tuple[float, ...]
    std: tuple[float, ...]


def build(
    backbone: str, weights: str, image_size: int, channels: int, first_layer: str
) -> Backbone:
    """The backbone of a `RetrievalNet`, which describes arguments and errors."""
    if first_layer not in ("random", "inflated"):
        raise ValueError(f"first_layer must be random or inflated, got {first_layer!r}")
    if channels < 1:
        raise ValueError(f"channels must be positive, got {channels}")
    of, fresh = library(backbone), set()
    file = None if weights in ("imagenet", "none") else weights_file(weights)
    model = of.build(of.known(backbone), weights, image_size)
    first = {} if channels == 3 else _convolutions(model, of.first_layers(model), backbone)
    if file:
        state = of.fitted(read_weights(file), model)
        for name, layer in first.items():
            stored = state.get(f"{name}.weight")
            if stored is not None and stored.shape[1:2] != (3,):  # it fits as it is, or not at all
                set_channels(layer, channels)
        fresh = _load(model, state, file, backbone)
    if first and hasattr(model, "transform_input"):
        model.transform_input = False  # torchvision's Inception mends the colours of three channels
    for name, layer in first.items():
        if layer.in_channels == channels:
            continue
        loaded = weights != "none" and f"{name}.weight" not in fresh
        set_channels(layer, channels, inflate=loaded and first_layer == "inflated")
        if loaded and first_layer == "random":
            fresh |= {f"{name}.{parameter}" for parameter, _ in layer.named_parameters()}
    width = of.remove_classifier(model, backbone)
    fresh &= set(model.state_dict())  # nobody misses the classifier
    # the bands of other sensors come as they are
    mean, std = of.statistics(model) if channels == 3 else ((0.0,) * channels, (1.0,) * channels)
    return Backbone(model, width, sorted(fresh), mean, std)


@torch.no_grad()
def set_channels(layer: nn.Conv2d, channels: int, inflate: bool = False) -> None:
    """Let a first layer of three channels take another number of them.

    inflate: each channel has 3 / channels times the mean of the three, and the bias is kept, so
    that a constant image gives the response it gave. Otherwise the layer is initialised as one of
    its kind is by default.
    """
    three = layer.weight
    layer.in_channels = channels
    layer.weight = nn.Parameter(three.new_empty(len(three), channels, *three.shape[2:]))
    if inflate:
        layer.weight.copy_(three.sum(dim=1, keepdim=True) / channels)
    else:
        layer.reset_parameters()


def _convolutions(model: nn.Module, names: list[str], backbone: str) -> dict[str, nn.Conv2d]:
    layers = {name: model.get_submodule(name) for name in names}
    found = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    if not names or len(found) < len(names) or any(x.in_channels != 3 for x in found.values()):
        raise ValueError(
            f"{backbone} has no first convolution of three channels to replace: choose another "
            "backbone for images of other than three channels"
        )
    return found


def _load(model: nn.Module, state: dict[str, Tensor], file: Path, backbone: str) -> set[str]:
    """Load what the file has; names of what it lacks. ValueError for what does not fit."""
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
    return set(own) - set(state)
