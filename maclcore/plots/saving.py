"""Where figures go, under which name, and in how many bytes."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image as Picture
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from maclcore import paths
from maclcore.config import EMBEDDED

PAGE = 840  # pixels


def slug(archive: str | Path) -> str:
    """An archive's name, or its folder's, as a part of the name of a file."""
    name = Path(archive).absolute().name
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40]


def save(fig: Figure, name: str, *, shows: str = "synthetic", dpi: int | None = None) -> Path:
    """Write a figure, `figures_root()/<name>.png`; dpi: None is the style's, less saves bytes where
    there are many photographs.

    A figure that shows images of an archive names it: those of a real archive may not be
    redistributed and go to `private/` in that folder, which git ignores wherever it is.
    """
    folder = paths.figures_root() / ("" if shows in EMBEDDED else "private")
    with paths.atomic_path(folder / f"{name}.png") as temporary:
        temporary.write_bytes(_png(_drawn(fig, dpi)))
    return folder / f"{name}.png"


def show(fig: Figure, name: str, **options: Any) -> None:
    """`save` a figure and show it, no wider than a page and in 256 colours at most: a third of the
    bytes that a notebook would make of it."""
    save(fig, name, **options)
    shown = _drawn(fig, dpi=min(80, PAGE / fig.get_figwidth()))
    if not shown.getcolors(256):
        # the colours that are furthest apart, so that a rare one is not given up for shades
        shown = shown.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    display(Picture(_png(shown)))
    plt.close(fig)


def _drawn(fig: Figure, dpi: float | None) -> Image.Image:
    file = BytesIO()
    fig.savefig(file, format="png", dpi=dpi)
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _png(picture: Image.Image) -> bytes:
    """A picture to the last colour, with a palette where 256 suffice: a third of the bytes."""
    if picture.mode == "RGB" and picture.getcolors(256):  # None if there are more
        pixels = np.asarray(picture) @ [1 << 16, 1 << 8, 1]
        colours, index = np.unique(pixels, return_inverse=True)
        palette = np.stack([colours >> 16, colours >> 8, colours], axis=1).astype(np.uint8)
        picture = Image.frombytes("P", picture.size, index.astype(np.uint8).tobytes())
        picture.putpalette(palette.tobytes())
    file = BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()
