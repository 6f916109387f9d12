"""Training: the one loop, the methods that it runs, and what they share.

From here: `train`, `load_model`, `compute`. This room knows data, losses, networks, metrics and the
store; it must not know which configurations make an experiment, nor how results are shown.
"""

from maclcore.extras import need

need("train", __name__)

from maclcore.training.retrieval import load_model
from maclcore.training.run import compute, train

__all__ = ["compute", "load_model", "train"]
