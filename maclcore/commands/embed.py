"""`embed`: vectors of an archive's images, as a table for other programs."""

from pathlib import Path

from tyro.conf import Positional

from maclcore.commands.shared import use


def embed(
    archive: Positional[str],
    *,
    out: Path,
    run: str | None = None,
    backbone: str = "resnet18",
    weights: str = "imagenet",
    image_size: int = 224,
    bands: str = "",
    data: Path | None = None,
) -> None:
    """Write vectors of images as Parquet: names, labels, other columns, coordinates, vectors.

    Where images have coordinates it is GeoParquet, which a geographic information system opens.
    Of an index the vectors that it has; of an archive those of a run's network, or of a backbone
    without training of ours, which are kept in the cache for the next time.
    Example: python -m maclcore embed my_index --out vectors.parquet
    Example: python -m maclcore embed ~/photos --run RUN_ID --out vectors.parquet
    Example: python -m maclcore embed dlrsd --backbone resnet50 --weights imagenet --out v.parquet

    Args:
        archive: the folder of an index, or an archive: a name or a folder.
        out: the table to write.
        run: the run whose network embeds; default: the backbone alone.
        backbone: as of `train`.
        weights: of the backbone, as of `train`.
        image_size: of the backbone alone: pixels of a side.
        bands: of images of many bands those to take, as of `train`.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    from maclcore.data.archives import read_archive
    from maclcore.search.build import LeftOut
    from maclcore.search.embedder import Embedder
    from maclcore.search.index import TABLE, Index
    from maclcore.search.kept import kept
    from maclcore.search.vectors import export
    from maclcore.store import Run

    use(data)
    problems: list[str] = []
    if "://" in archive or (Path(archive) / f"{TABLE}.lance").is_dir():
        index = Index(archive)
    else:
        found = Run.find(run) if run else None
        catalogue = read_archive(archive, bands=found.config.bands if found else bands)
        if found:
            embedder = Embedder.of_run(found)
        else:
            embedder = Embedder.of_backbone(backbone, weights, image_size, catalogue.channels)
        index, problems = kept(catalogue, embedder)
    rows = export(index, out)
    print(f"{out}: {rows:,} vectors of {index.about.made.dim:,} values")
    if problems:
        raise LeftOut(str(out), problems)
