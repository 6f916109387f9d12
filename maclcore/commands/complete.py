"""`complete`: all labels of an archive of one's own, from a table that names some."""

from pathlib import Path

from tyro.conf import Positional

from maclcore.commands.shared import use
from maclcore.config import Param


def complete(
    folder: Positional[Path],
    *,
    method: str = "gc",
    labels: Path | None = None,
    labels_per_image: float | None = None,
    params: tuple[tuple[str, Param], ...] = (),
    backbone: str = "resnet18",
    weights: str = "imagenet",
    image_size: int = 224,
    bands: str = "",
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    data: Path | None = None,
) -> None:
    """Complete the labels of the images in a folder, of which a table names one or some.

    Writes labels.completed.csv, labels.probabilities.csv and labels.completed.json into the folder,
    and touches nothing else there. The table is `image,label`, a row an image, or has a 0/1 column
    for each label. An image without a row, or without a label, is completed, too.
    Example: python -m maclcore complete ~/photos
    Example: python -m maclcore complete ~/photos --labels one_label.csv --labels-per-image 4
    Example: python -m maclcore complete ~/photos --method epr --labels-per-image 4
    Example: python -m maclcore complete ~/photos --labels-per-image 4 --params choose number

    Args:
        folder: with images/, or the images themselves, and labels.csv.
        method: a loss for weak labels: gc, epr, role, wan, em, an, …
        labels: the table of known labels; default: labels.csv of the folder.
        labels_per_image: how many labels an image has on average, as you expect it; epr and role
            need it, and gc is better with it.
        params: other settings, as NAME VALUE: of the method, such as trigger and weight, epochs,
            lr, batch_size, frozen_views, and choose, which is threshold, labels above one half, or
            number, as many as labels_per_image says.
        backbone: of torchvision, or of timm, as timm/vit_small_patch14_dinov2; it stays as it is.
        weights: imagenet, none, or a safetensors file.
        image_size: side of the decoded images in pixels.
        bands: of images of many bands those to take; default: all.
        seed: of the classifier, and of the tenth of the images that its detector watches.
        device: cpu, cuda, cuda:1, …; default: a GPU if there is one.
        quiet: no progress bar.
        data: the folder that holds archives and weights; default: MACL_DATA.
    """
    from maclcore.experiments.complete import complete as run_completion

    use(data)
    given = dict(params)
    if labels_per_image is not None:
        given["labels_per_image"] = labels_per_image
    found = run_completion(
        folder, method=method, labels=labels, params=given, device=device, progress=not quiet,
        backbone=backbone, weights=weights, image_size=image_size, bands=bands, seed=seed,
    )  # fmt: skip
    for name, value in found.provenance["counts"].items():
        print(f"{name}: {value:,}")
    mean = found.provenance["counts"]["labels per image"]
    if labels_per_image and not 0.7 < mean / labels_per_image < 1.4:
        print(
            f"({labels_per_image:g} labels per image were expected: --params choose number takes "
            "so many of the most probable, instead of those above one half)"
        )
    at = found.table
    print(f"written: {', '.join([*found.provenance['files'], at.with_suffix('.json').name])}")
    if (at.parent / "labels.csv").is_file():
        print(
            f"next: python -m maclcore train --archive {at.parent} --labels {at.name}\n"
            "(trains on the completed labels, and measures by labels.csv)"
        )
    else:
        print(f"to train on them, {at.parent} needs a labels.csv, by which the test is measured")
