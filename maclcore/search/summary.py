"""What an index is of, in words."""

from collections import Counter
from pathlib import Path

from maclcore.search.index import Index


def summary(index: Index) -> dict[str, str]:
    """A text for each thing that there is to say of an index, in order."""
    about, made = index.about, index.about.made
    of: Counter[str] = Counter()
    labelled = placed = 0
    for batch in index.table.search().select(["labels", "longitude"]).to_batches(1 << 14):
        sets = batch["labels"].to_pylist()
        of.update(label for labels in sets for label in labels)
        labelled += sum(map(bool, sets))
        placed += len(batch) - batch["longitude"].null_count
    n = len(index)
    told = {
        "index": f"{index.where}, {_size(index.where)}",
        "of": " ".join(filter(None, (about.title, about.archive and f"({about.archive})"))),
        "read": ", ".join(f"{name}={value}" for name, value in about.options.items() if value),
        "images": f"{n:,}; {labelled:,} with labels, {placed:,} with coordinates",
        "labels": ", ".join(f"{name} {of[name]:,}" for name in about.label_names) or "none",
        "columns": ", ".join(index.columns) or "none",
        "made by": f"{made.run or made.backbone or made.network}" + _network(index),
        "vectors": f"{made.dim} numbers, {made.vector}",
        "search": "exact",
        "versions": ", ".join(f"{name} {of}" for name, of in about.versions.items()),
    }
    if near := about.approximate:
        told["search"] = (
            f"exact; approximate when asked, which looks into {near.probed} of {near.partitions} "
            f"parts and found {near.recall_10:.1%} of the best 10, {near.recall_100:.1%} of the "
            f"best 100, of {near.queries} of its vectors when it was made"
        )
    return {name: text for name, text in told.items() if text}


def _network(index: Index) -> str:
    made = index.about.made
    if not made.backbone:
        return ""
    bands = ", ".join(made.bands)
    return (
        f" ({made.backbone}, {made.weights}, network {made.network}) on {made.image_size} px of "
        f"{bands}; {index.about.rule}"
    )


def _size(where: str) -> str:
    if "://" in where:
        return "on object storage"
    size = sum(file.stat().st_size for file in Path(where).rglob("*") if file.is_file())
    return f"{size / 1e6:,.1f} MB"
