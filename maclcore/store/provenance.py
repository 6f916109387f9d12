"""Versions and hardware, as every result row carries them."""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from maclcore.paths import PACKAGE
from maclcore.store import revision
from maclcore.version import __version__


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions and hardware, as every result row carries them."""
    import torchvision  # takes seconds, and the store is mostly read

    return {
        "maclcore": __version__,
        "git": git_revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "computed in": precision,
    }


@cache
def git_revision() -> str:
    """The commit of the package's own source, of a checkout with "+" if it was changed since; ""
    where that is not known, whatever repository the package is installed or run in."""
    return revision.of_checkout(PACKAGE) or revision.of_installation(PACKAGE)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
