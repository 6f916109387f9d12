"""An archive searched for what its images show.

From here: `example`, by images of one's own. This room knows runs, their networks and archives; it
must not know how results are printed or shown.
"""

from maclcore.extras import need

need("train", __name__)
