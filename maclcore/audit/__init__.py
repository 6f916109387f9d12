"""What the papers say, held against the store: claims, the evidence for each, breakdowns.

From here: `claims`, `evidence` and `breakdown`. This room reads what all others have computed, and
no room but the command line may import from it.
"""

from maclcore.extras import need

need("train", __name__)
