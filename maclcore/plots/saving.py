"""Where figures go, under which name, and in how many bytes."""

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image as Picture
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from maclcore import paths, reads
from maclcore.config import EMBEDDED, PUBLIC_DOMAIN

RUNS = "Runs"  #: in a file's words, ids of the runs that had been read
PAGE = 840  # pixels: what JupyterLab leaves for an output beside its file browser at 1280
DRAWN = "Scenes drawn by the package, no photographs."


def slug(archive: str | Path) -> str:
    """An archive's name, or its folder's, as a part of the name of a file."""
    name = Path(archive).absolute().name
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40]


def save(fig: Figure, name: str, *, shows: str = "synthetic", dpi: int | None = None) -> Path:
    """Write a figure, `figures_root()/<name>.png`; dpi: None is the style's, less saves bytes where
    there are many photographs.

    A figure that shows images of an archive names it: those of a real archive may not be
    redistributed, but for UC Merced's (USGS, in the public domain), and go to `private/` in that
    folder, which git ignores wherever it is. The file says which runs had been read (`runs_of`).
    """
    folder = paths.figures_root() / ("" if shows in (*EMBEDDED, *PUBLIC_DOMAIN) else "private")
    with paths.atomic_path(folder / f"{name}.png") as temporary:
        temporary.write_bytes(_png(_drawn(fig, dpi), {RUNS: " ".join(sorted(reads.RUNS))}))
    return folder / f"{name}.png"


def runs_of(file: Path) -> list[str] | None:
    """Ids of the runs that had been read when a figure was saved; None if it does not say."""
    with Image.open(file) as picture:
        text = picture.info.get(RUNS)
    return None if text is None else text.split()


def show(
    fig: Figure,
    name: str,
    caption: str,
    *,
    shows: str = "synthetic",
    dpi: int | None = None,
    quality: int = 85,
) -> None:
    """`save` a figure and show it with its caption, no wider than a page.

    The caption's first sentence, without "**Figure 5.1.**", is the picture's alternative text: it
    says what there is to see. Photographs are shown as JPEG, under their credit, and many of them
    in less `quality` and fewer pixels; scenes that the package draws are said to be that. A line
    chart has 256 colours at most, for a third of the bytes, and what has a colour map keeps them
    all.
    """
    save(fig, name, shows=shows, dpi=dpi)
    kinds = [image.get_array().ndim for ax in fig.axes for image in ax.images]
    photographs = 3 in kinds  # (H, W, 3): colours of their own
    mapped = kinds or any(c.get_array() is not None for ax in fig.axes for c in ax.collections)
    width = min(PAGE, round(100 * fig.get_figwidth()))
    sharp = 1.8 if not mapped else 1.4 if quality >= 85 else 1.2  # pixels a pixel of the page
    shown, kind = _drawn(fig, dpi=sharp * width / fig.get_figwidth()), "png"
    if photographs:
        file, kind = BytesIO(), "jpeg"
        shown.save(file, format=kind, quality=quality, subsampling=0)
        if credit := PUBLIC_DOMAIN.get(shows, DRAWN if shows in EMBEDDED else ""):
            caption += f" *{credit}*"
    elif not mapped and not shown.getcolors(256):
        # the colours that are furthest apart, so that a rare one is not given up for shades
        shown = shown.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    data = file.getvalue() if photographs else _png(shown)
    display(Picture(data, format=kind, width=width, alt=alternative(caption)))
    display(Markdown(caption))
    plt.close(fig)


def alternative(caption: str) -> str:
    """A caption's first sentence after its "**Figure 5.1.**", without marks of emphasis or code."""
    text = re.sub(r"^\*\*Figure [\d.]+\*\*\s*", "", caption.strip())
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # links
    return re.split(r"(?<=[.?!])\s", re.sub(r"[*`$\\]", "", text), maxsplit=1)[0]


def _photographs(fig: Figure) -> bool:
    """Is there an image of an archive, that is one with colours of its own, (H, W, 3)?"""
    return any(image.get_array().ndim == 3 for ax in fig.axes for image in ax.images)


def _line_art(fig: Figure) -> bool:
    return not any(
        ax.images or any(c.get_array() is not None for c in ax.collections) for ax in fig.axes
    )


def _drawn(fig: Figure, dpi: float | None) -> Image.Image:
    file = BytesIO()
    fig.savefig(file, format="png", dpi=dpi)
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _png(picture: Image.Image, told: Mapping[str, str] | None = None) -> bytes:
    """A picture to the last colour, with a palette where 256 suffice, which is a third of the
    bytes; and what is `told` of it."""
    if picture.mode == "RGB" and picture.getcolors(256):  # None if there are more
        pixels = np.asarray(picture) @ [1 << 16, 1 << 8, 1]
        colours, index = np.unique(pixels, return_inverse=True)
        palette = np.stack([colours >> 16, colours >> 8, colours], axis=1).astype(np.uint8)
        picture = Image.frombytes("P", picture.size, index.astype(np.uint8).tobytes())
        picture.putpalette(palette.tobytes())
    words = PngInfo()
    for name, text in (told or {}).items():
        words.add_text(name, text, zip=True)
    file = BytesIO()
    picture.save(file, format="png", optimize=True, pnginfo=words)
    return file.getvalue()
