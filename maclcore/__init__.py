"""The open companion to MACL: Multi-Label Adaptive Contrastive Learning Loss for Remote Sensing
Image Retrieval.

One alphabet of shapes: N images in a batch or archive, D embedding, L labels, Q queries,
G gallery, K cut-off; z (N, D) unit rows, y (N, L) multi-hot.

Names are loaded when they are first used, so that the losses alone cost no more than torch. One
whose extra is not installed is an ImportError that names the extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from maclcore.version import __version__ as __version__

if TYPE_CHECKING:
    from maclcore.config import PROFILES, Config
    from maclcore.data import Archive, load_archive
    from maclcore.evaluation.retrieval import METRICS, evaluate
    from maclcore.labels import LabelStatistics, jaccard
    from maclcore.losses import LOSSES, build_loss
    from maclcore.models.network import RetrievalNet
    from maclcore.store import Run, collect
    from maclcore.training import train

#: each public name and the module that has it
_HOME = {
    "Archive": "data",
    "Config": "config",
    "LOSSES": "losses",
    "LabelStatistics": "labels",
    "METRICS": "evaluation.retrieval",
    "PROFILES": "config",
    "RetrievalNet": "models.network",
    "Run": "store",
    "build_loss": "losses",
    "collect": "store",
    "evaluate": "evaluation.retrieval",
    "jaccard": "labels",
    "load_archive": "data",
    "train": "training",
}

__all__ = [
    "LOSSES",
    "METRICS",
    "PROFILES",
    "Archive",
    "Config",
    "LabelStatistics",
    "RetrievalNet",
    "Run",
    "build_loss",
    "collect",
    "evaluate",
    "jaccard",
    "load_archive",
    "train",
]


if not TYPE_CHECKING:  # to whom every name would be one

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'maclcore' has no attribute {name!r}")
        value = getattr(import_module(f"maclcore.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
