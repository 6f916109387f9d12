"""Initial weights: which file a name means, what it holds, and whether that fits a network."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from maclcore import paths
from maclcore.config import SUFFIX, is_path
from maclcore.data import cache

#: endings of a file of weights; the first may be left out
SUFFIXES = (SUFFIX, ".pth", ".pt")


def weights_file(weights: str) -> Path:
    """The file that `weights` names: in the data folder's `weights/`, or else by its path."""
    name = weights if weights.endswith(SUFFIXES) else weights + SUFFIX
    here = Path(name).expanduser().absolute()
    own = [] if is_path(weights) else [paths.data_root() / "weights" / name]
    for candidate in (*own, here):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"no weights {weights!r}: neither a file of {', '.join(SUFFIXES)}, nor in "
        f"{paths.data_root()}/weights; use 'imagenet', 'none', a path, or set MACL_DATA"
    )


def weights_name(weights: str) -> str:
    """What weights are found by from any folder: their name in the data folder, or their path."""
    if weights in ("imagenet", "none"):
        return weights
    file = weights_file(weights)
    inside = not is_path(weights) and file.parent == paths.data_root() / "weights"
    return weights if inside else str(file)


def weights_content(backbone: str, weights: str) -> str:
    """What initial weights are, whatever they are called: "none", the library's own name for those
    that "imagenet" stands for, or the first 16 digits of the SHA-256 of the file."""
    if weights == "none":
        return weights
    if weights == "imagenet":
        return library(backbone).content(backbone)
    return cache.content_hashes([weights_file(weights)])[0][:16]


def known(backbone: str) -> str:
    """`backbone`, if there is such a one; else a ValueError that names the nearest."""
    return library(backbone).known(backbone)


def library(backbone: str) -> ModuleType:
    """What makes that backbone: `from_timm` or `from_torchvision`."""
    if not backbone.startswith("timm/"):
        from maclcore.models import from_torchvision  # each takes seconds to import

        return from_torchvision
    from maclcore.models import from_timm

    return from_timm


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; ValueError for a file with anything else.

    .safetensors, or .pth and .pt as `torch.save` writes them, where the tensors may lie under
    "state_dict", "model" or "teacher". Such a file is a pickle, which can run code: it is read by
    torch's restricted unpickler, and one that needs more is refused. If all names begin with
    "module." or "backbone.", that is left out.

    The released weights of SoftCon (zhu-xlab/softcon), and others that torchgeo lists, are such
    files; torchgeo itself, which would bring many packages to fetch one file, is not used.
    """
    state = _safe(file) if file.suffix == SUFFIX else _pickled(file)
    for prefix in ("module.", "backbone."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _safe(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is not a readable safetensors file ({error})") from error


def _pickled(file: Path) -> dict[str, Tensor]:
    try:
        # what torch wrote before 1.6 is no zip archive, and cannot be mapped
        stored = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except OSError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        wants = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {wants[1]}" if wants else "is damaged, or no file of torch.save"
        raise ValueError(
            f"{file} {what}: it is not unpickled, since that can run code. Save the network's "
            "state_dict() alone, best as .safetensors"
        ) from error
    for key in ("state_dict", "model", "teacher"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    named = isinstance(stored, Mapping) and all(isinstance(name, str) for name in stored)
    if not named or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ValueError(
            f"{file} does not hold tensors by name: save the network's state_dict() alone, best as "
            ".safetensors"
        )
    return dict(stored)
