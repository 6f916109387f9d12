"""Initial weights: which file a name means, what it holds, and whether that fits a network."""

from pathlib import Path

import torchvision.models
from torchvision.models import get_model_weights, list_models

from maclcore import paths
from maclcore.config import SUFFIX, is_path, nearest
from maclcore.data import cache


def weights_file(weights: str) -> Path:
    """The file that `weights` names: in the data folder's `weights/`, or else by its path."""
    name = weights if weights.endswith(SUFFIX) else weights + SUFFIX
    here = Path(name).expanduser().absolute()
    own = [] if is_path(weights) else [paths.data_root() / "weights" / name]
    for candidate in (*own, here):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"no weights {weights!r}: neither a safetensors file, nor in {paths.data_root()}/weights; "
        "use 'imagenet', 'none', a path, or set MACL_DATA"
    )


def weights_name(weights: str) -> str:
    """What weights are found by from any folder: their name in the data folder, or their path."""
    if weights in ("imagenet", "none"):
        return weights
    file = weights_file(weights)
    inside = not is_path(weights) and file.parent == paths.data_root() / "weights"
    return weights if inside else str(file)


def weights_content(backbone: str, weights: str) -> str:
    """What initial weights are, whatever they are called: "none", torchvision's own name for those
    of ImageNet, or the first 16 digits of the SHA-256 of the file."""
    if weights == "none":
        return weights
    if weights == "imagenet":
        return str(get_model_weights(known(backbone)).DEFAULT)
    return cache.content_hashes([weights_file(weights)])[0][:16]


def known(backbone: str) -> str:
    names = list_models(module=torchvision.models)
    if backbone not in names:
        raise ValueError(f"unknown backbone {backbone!r}{nearest(backbone, names)}")
    return backbone
