"""The scenes of `maclcore.data.synthetic` as two satellites might see them, in two seasons.

A place is one of those scenes: image `index` is place `index // 2`, in summer where `index` is even
and in winter where it is odd. What grows, floods, is ploughed or snowed under there is drawn
for each place, and with it the labels, those of Dynamic World. Ground distances are the scenes',
not Sentinel's. Top to bottom: `render`, `surfaces`.
"""

from maclcore.data.synthetic_sentinel.render import BANDS, example, generate, names
from maclcore.data.synthetic_sentinel.surfaces import LABELS, SURFACES

__all__ = ["BANDS", "LABELS", "SURFACES", "example", "generate", "names"]
