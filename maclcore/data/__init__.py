"""From files on disk to `(N, 3, S, S)` uint8 images and `(N, L)` bool labels."""

from maclcore.extras import need

need("train", __name__)

from maclcore.data.archives import (
    ARCHIVES,
    Archive,
    ArchiveError,
    ArchiveWarning,
    archive_name,
    describe,
    load_archive,
    read_labels,
)
from maclcore.data.split import Split, make_split

__all__ = [
    "ARCHIVES",
    "Archive",
    "ArchiveError",
    "ArchiveWarning",
    "Split",
    "archive_name",
    "describe",
    "load_archive",
    "make_split",
    "read_labels",
]
