"""The data sheet of an archive."""

from maclcore.data.archives import RGB, Archive
from maclcore.data.reading import printable


def describe(
    archive: Archive, *, seed: int = 0, stratified: bool = False, official: bool = False
) -> str:
    """The data sheet of an archive: its size, and the images of each label in all and per part."""
    import pandas as pd  # here, because it takes seconds, and who only loads does without

    size = f"{len(archive):,} images at {archive.images.shape[-1]} px"
    lines, table, labels = [], "", archive.labels
    if archive.label_names:
        split = archive.split(seed, stratified, official)
        columns = {"images": labels.sum(axis=0)}
        columns["share"] = [f"{share:.1%}" for share in labels.mean(axis=0)]
        columns |= {part: labels[index].sum(axis=0) for part, index in split._asdict().items()}
        kind = ", stratified" * stratified + ", official" * official
        sizes = " / ".join(f"{len(part):,}" for part in split)
        size += f", {len(archive.label_names)} labels, {labels.sum(axis=1).mean():.2f} per image"
        lines.append(f"split {seed}{kind}: {sizes} (train / validation / test)")
        of = pd.DataFrame(columns, index=[printable(name) for name in archive.label_names])
        table = of.to_string()
    else:
        size += ", no labels"
    lines = [f"{printable(archive.title)}: {size}", *lines, f"fingerprint {archive.fingerprint}"]
    if archive.bands != RGB:
        lines.append(f"bands (share of pixels at 0 or 255): {_clipped(archive)}")
    if archive.places:
        lines.append(f"places: {len(set(archive.places)):,}, none of them in two parts")
    unlabelled = int((~labels.any(axis=1)).sum())
    if unlabelled and table:
        lines.append(f"images of which no label is known: {unlabelled:,}")
    lines += ["", table] if table else []
    return "\n".join(lines + [f"\nNote: {archive.footnote}"] * bool(archive.footnote))


def _clipped(archive: Archive) -> str:
    """Of each band how much is too dark or too bright for its bytes, in up to 1,000 images."""
    some = archive.images[:: -(-len(archive) // 1000)]
    shares = [((band == 0) | (band == 255)).mean() for band in some.swapaxes(0, 1)]
    return ", ".join(f"{b} {s:.0%}" for b, s in zip(archive.bands, shares, strict=True))
