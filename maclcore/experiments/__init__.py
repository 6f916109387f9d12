"""The paper's tables and figures as lists of configurations, and what computes them.

From here: `paper` (which runs), `tables` (what the store has of them), `sweep` and `workers`
(running them), `recompute` (running one again), `transfer` (probing one), `notebooks`, and
`complete` (labels of a folder of one's own). This room must not know the verdicts that are drawn
from its results.
"""

from maclcore.extras import need

need("train", __name__)
