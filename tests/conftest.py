"""Settings of all tests."""

import os

# Before torch is imported: parallel workers with several threads each slow one another down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
