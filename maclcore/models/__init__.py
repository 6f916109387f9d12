"""Networks: a backbone with a projection head, and the weights that it starts from.

From here: `network` and `weights`. This room knows images as tensors; it must not know losses,
metrics or training.
"""

from maclcore.extras import need

need("train", __name__)
