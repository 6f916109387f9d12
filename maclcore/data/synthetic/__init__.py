"""A designed instrument: small aerial scenes whose labels are known by construction.

A scene is a list of polygons in unit coordinates, back to front, a pure function of (seed, index).
It is painted into a map of visible parts: labels are read off that map at one fixed resolution,
pixels off the same map at any size. The 17 labels and their frequencies are those of DLRSD in
Table 3 of the paper (MACL); the 21 scene types play the part of UC Merced's land-use classes.
Top to bottom: `render`, `scenes`, `drawing`.
"""

from maclcore.data.synthetic.drawing import LABELS
from maclcore.data.synthetic.render import example, generate
from maclcore.data.synthetic.scenes import SCENES, scene_names

__all__ = ["LABELS", "SCENES", "example", "generate", "scene_names"]
