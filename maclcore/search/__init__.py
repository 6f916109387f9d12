"""An archive of one's own, made searchable and searched by example.

From here: `embedder` (a network, and what it is known by), `index` (a row an image, on disk),
`kept` (those of runs, in the cache), `query` and `results`, which `contact_sheet` shows, `vectors`
for other programs, and `browse`, all of it on a page. This room knows runs, their networks and
archives; nothing below it knows that archives are searched.
"""

import os

from maclcore.extras import need

need("train", __name__)
need("search", __name__)

# Before LanceDB is loaded: bytes that a search reads ahead, which would else be 2 GiB.
os.environ.setdefault("LANCE_DEFAULT_IO_BUFFER_SIZE", str(2**26))
