"""From files on disk to `(N, C, S, S)` uint8 images and `(N, L)` bool labels, split and in batches.

An archive is found and checked (`archives`, by `readers`, which share `reading`), drawn
(`synthetic`, `synthetic_sentinel`) or got in (`prepare`, `extract`), decoded once (`cache`), split
(`split`), and read for batch after batch (`stream`, in the order of `sampler`, changed by `augment`
or `augment_bands`). Images of many bands (`bands`, with `statistics`, found by `stacks`) are those
of `sentinel`, or of a folder that says what it holds (`declared`); in one that does not, images of
any depth are shown alike (`scenes`, `stretch`, `patches`), cut into tiles (`own`) and placed on
earth (`coordinates`); `maps` makes label sets of land
cover, and `weak` says which labels training sees.

From here: the names below, and `maclcore.data.augment`, `augment_bands`, `bands`, `cache`,
`prepare`, `readers`, `sampler`, `stream`, `synthetic` and `synthetic_sentinel`. This room knows
files, images and labels; it must not know losses, networks or runs.
"""

from maclcore.extras import need

need("train", __name__)

from maclcore.data.archives import (
    ARCHIVES,
    Archive,
    archive_name,
    at_hand,
    load_archive,
    read_labels,
)
from maclcore.data.maps import labels_from_map
from maclcore.data.reading import ArchiveError, ArchiveWarning
from maclcore.data.sheet import describe
from maclcore.data.split import Split, make_split

__all__ = [
    "ARCHIVES",
    "Archive",
    "ArchiveError",
    "ArchiveWarning",
    "Split",
    "archive_name",
    "at_hand",
    "describe",
    "labels_from_map",
    "load_archive",
    "make_split",
    "read_labels",
]
