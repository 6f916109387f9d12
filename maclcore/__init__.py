"""The open companion to MACL: Multi-Label Adaptive Contrastive Learning Loss for Remote Sensing
Image Retrieval.

One alphabet of shapes: N images in a batch or archive, D embedding, L labels, Q queries,
G gallery, K cut-off; z (N, D) unit rows, y (N, L) multi-hot.
"""

from maclcore.config import PROFILES, Config
from maclcore.data import Archive, load_archive
from maclcore.labels import LabelStatistics, jaccard
from maclcore.losses import LOSSES, build_loss
from maclcore.metrics import METRICS, evaluate
from maclcore.model import RetrievalNet
from maclcore.store import Run, collect
from maclcore.train import train

__version__ = "0.1.0"

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
