"""Where figures go, under which name, and in how many bytes."""

from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image as Picture
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from maclcore import paths

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
    folder = paths.figures_root() / ("" if shows == "synthetic" else "private")
    with paths.atomic_path(folder / f"{name}.png") as temporary:
        temporary.write_bytes(_png(fig, dpi))
    return folder / f"{name}.png"


def show(fig: Figure, name: str, **options) -> None:
    """`save` a figure and show it, no wider than a page, in a third of the bytes that a notebook
    would make of it."""
    save(fig, name, **options)
    display(Picture(_png(fig, dpi=min(80, PAGE / fig.get_figwidth()))))
    plt.close(fig)


def _png(fig: Figure, dpi: int | None = None) -> bytes:
    """The figure as it is drawn, to the last colour: with a palette where that can hold them all,
    in half the bytes."""
    drawn, small = BytesIO(), BytesIO()
    fig.savefig(drawn, format="png", dpi=dpi)
    with Image.open(drawn) as picture:
        picture = picture.convert("RGB")
    if picture.getcolors(256):  # None if there are more
        colours, of_pixel = np.unique(np.asarray(picture) @ [65536, 256, 1], return_inverse=True)
        palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
        picture = Image.frombytes("P", picture.size, of_pixel.astype(np.uint8).tobytes())
        picture.putpalette(palette.astype(np.uint8).tobytes())
    picture.save(small, format="PNG", optimize=True)
    return small.getvalue()
