"""DataFrame in, Figure out: a file for each kind of figure.

From here: the functions below, called as `plots.name`. One colour per method for life (the
registry's); figures carry their profile in small grey type unless it is `paper`, so that a smoke
figure cannot pass for a result. This room must not train, read the store or choose a result.
"""

from maclcore.extras import need

need("plots", __name__)

from maclcore.plots.ablations import (
    ablation,
    differences_over,
    heatmaps,
    surfaces,
    surfaces_interactive,
)
from maclcore.plots.audit import from_chance, printed_beside_chance, verdict_squares
from maclcore.plots.chain import completed_labels, label_chain, shares_of_gap
from maclcore.plots.galleries import contact_sheet, gallery, image_grid, pipeline
from maclcore.plots.labels import (
    confusion,
    cooccurrence,
    cumulative,
    label_counts,
    set_frequencies,
    set_sizes,
    similarities,
)
from maclcore.plots.losses import forces, label_terms, positive_sets
from maclcore.plots.results import (
    archive_panels,
    chance_to_oracle,
    critical_difference,
    differences,
    label_bars,
    metric_panels,
    precision_recall,
    query_scatter,
)
from maclcore.plots.saving import save, show, slug
from maclcore.plots.style import REFERENCE_STYLE, colour, label, stamp, use_style
from maclcore.plots.table import Table, table
from maclcore.plots.training import lines, training_curves
from maclcore.plots.weak import dots_by_archive, gradients, mark, rise_and_fall

__all__ = [
    "ablation", "archive_panels", "chance_to_oracle", "colour", "completed_labels", "confusion",
    "contact_sheet", "cooccurrence", "critical_difference", "cumulative", "differences",
    "differences_over", "dots_by_archive", "forces", "from_chance", "gallery", "gradients",
    "heatmaps", "image_grid", "label", "label_bars", "label_chain", "label_counts", "label_terms",
    "lines", "mark", "metric_panels", "pipeline", "positive_sets", "precision_recall",
    "printed_beside_chance", "query_scatter", "REFERENCE_STYLE", "rise_and_fall", "save",
    "set_frequencies", "set_sizes", "shares_of_gap", "show", "similarities", "slug", "stamp",
    "surfaces", "surfaces_interactive", "table", "Table", "training_curves", "use_style",
    "verdict_squares",
]  # fmt: skip
