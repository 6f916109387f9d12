"""DataFrame in, Figure out: a file for each kind of figure.

From here: the functions below, called as `plots.name`. One colour per method for life (the
registry's); figures carry their profile in small grey type unless it is `paper`, so that a smoke
figure cannot pass for a result. This room must not train, read the store or choose a result.
"""

from maclcore.extras import need

need("plots", __name__)

from maclcore.plots.ablations import (
    ablation,
    ablations_by_archive,
    heat_strip,
    like_pairs,
    pairs_of,
    sign_colour,
    sign_of_alpha,
)
from maclcore.plots.audit import from_chance, printed_beside_chance, verdict_squares
from maclcore.plots.chain import completed_labels, label_chain, shares_of_gap
from maclcore.plots.galleries import (
    contact_sheet,
    frame,
    gallery,
    image_grid,
    image_table,
    pipeline,
)
from maclcore.plots.labels import cooccurrence, cumulative, label_panels, set_sizes, similarities
from maclcore.plots.losses import forces, overlap_terms, positive_sets
from maclcore.plots.maps import (
    heatmaps,
    metric_against_metric,
    show_interactive,
    surfaces,
    surfaces_interactive,
)
from maclcore.plots.measures import chance_ranges, rarity_weights, worked_query
from maclcore.plots.overview import finding
from maclcore.plots.pair_forces import band_forces, force_sliders, pair_forces, show_sliders
from maclcore.plots.results import (
    archive_panels,
    critical_difference,
    differences,
    differences_by_archive,
    emphasis,
    folded,
    group_slopes,
    query_scatter,
)
from maclcore.plots.saving import save, show, slug
from maclcore.plots.style import REFERENCE_STYLE, colour, label, stamp, use_style
from maclcore.plots.table import Table, table
from maclcore.plots.training import learning_curves, lines, training_curves
from maclcore.plots.weak import dots_by_archive, gradients, mark, rise_and_fall
from maclcore.plots.winning import against_best, front

__all__ = [
    "ablation", "ablations_by_archive", "against_best", "archive_panels", "band_forces",
    "chance_ranges", "colour",
    "completed_labels", "contact_sheet", "cooccurrence", "critical_difference", "cumulative",
    "differences", "differences_by_archive", "dots_by_archive", "emphasis", "finding", "folded",
    "force_sliders", "forces", "frame", "from_chance", "front", "gallery", "gradients",
    "group_slopes", "heat_strip", "heatmaps", "image_grid", "image_table", "label",
    "label_chain", "label_panels", "learning_curves", "like_pairs", "lines", "mark",
    "metric_against_metric", "overlap_terms", "pair_forces", "pairs_of", "pipeline",
    "positive_sets", "printed_beside_chance", "query_scatter", "rarity_weights",
    "REFERENCE_STYLE", "rise_and_fall", "save", "set_sizes", "shares_of_gap", "show",
    "show_interactive", "show_sliders", "sign_colour", "sign_of_alpha", "similarities", "slug",
    "stamp", "surfaces", "surfaces_interactive", "Table", "table", "training_curves",
    "use_style", "verdict_squares", "worked_query",
]  # fmt: skip
