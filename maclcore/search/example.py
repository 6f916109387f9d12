"""Search by example: the images of an archive that are most like those of some files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maclcore.data import Archive
from maclcore.data.archives import RGB
from maclcore.data.scenes import decode
from maclcore.evaluation.embedding import embed
from maclcore.evaluation.ranking import search
from maclcore.store import Run
from maclcore.training import load_model


class Match(NamedTuple):
    """An image of the archive that was found."""

    name: str
    cosine: float  #: of its embedding and the example's
    labels: tuple[str, ...]


def by_example(
    run: Run, archive: Archive, files: Sequence[Path], k: int
) -> tuple[dict[Path, list[Match]], list[str]]:
    """For each file its `k` best matches by the run's network, best first; and what went wrong.

    A file that cannot be read is told in the second list, and stops no other. ValueError for a run
    of other bands than red, green and blue, which a file of an image has.
    """
    if archive.bands != RGB:
        raise ValueError(
            f"{run.run_id} was trained on {', '.join(archive.bands)}; an example is an image in "
            "red, green and blue"
        )
    model = load_model(run)
    pixels, problems = {}, []
    for file in files:
        try:
            pixels[file] = decode(file, run.config.image_size, archive.stretch)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if not pixels:
        return {}, problems
    queries, _ = embed(model, np.stack(list(pixels.values())))
    gallery, _ = embed(model, archive.images)
    order, cosine = search(queries, gallery, k)

    def match(i: int, value: float) -> Match:
        present = zip(archive.label_names, archive.labels[i], strict=True)
        return Match(archive.names[i], value, tuple(name for name, on in present if on))

    found = {
        file: [match(i, value) for i, value in zip(row, values, strict=True)]
        for file, row, values in zip(pixels, order.tolist(), cosine.tolist(), strict=True)
    }
    return found, problems
