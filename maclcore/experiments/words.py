"""Numbers and names as sentences have them."""

from collections.abc import Iterable

import pandas as pd


def minus(text: str) -> str:
    """With a true minus where a hyphen stands for one."""
    return text.replace("-", "−")


def points(value: float, digits: int = 1) -> str:
    """A difference of fractions in points with its sign: "−16.9"."""
    return minus(f"{100 * value:+.{digits}f}")


def interval(row: pd.Series) -> str:
    """A row of `statistics.compare` in points: "−16.9 [−18.4, −15.6]", or "−16.9" without one."""
    if pd.isna(row["low"]):
        return points(row["difference"])
    return f"{points(row['difference'])} [{points(row['low'])}, {points(row['high'])}]"


def listed(names: Iterable[object]) -> str:
    """ "a, b and c"; "" of none."""
    *first, last = [*map(str, names)] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def title(name: str) -> str:
    """An archive's title in markdown, where a star would begin emphasis."""
    return name.replace("*", r"\*")


def shown(runs: pd.DataFrame) -> str:
    """Which archives, profile and seeds rows of `collect()` are of, and how they were trained."""
    archives = listed(title(name) for name in runs["archive: title"].unique())
    profiles = listed(f"`{name}`" for name in runs["profile"].unique())
    seeds = sorted(runs["seed"].unique().tolist())
    sizes = listed(f"{size} px" for size in runs["image_size"].unique())
    epochs = listed(counted(n, "epoch") for n in runs["epochs"].unique())
    return f"{archives}; profile {profiles}: {sizes}, {epochs}, {counted(len(seeds), 'seed')}"


def counted(n: int, noun: str) -> str:
    """ "one seed", "three seeds", "13 losses"."""
    words = "no one two three four five six seven eight nine ten eleven twelve".split()
    plural = (
        f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun[-1] == "s" else f"{noun}s"
    )
    return f"{words[n] if n < len(words) else n} {noun if n == 1 else plural}"


def ordinal(n: int) -> str:
    """ "1st", "12th", "23rd"."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def share(n: int, of: int) -> str:
    """ "none of 21", "14 of 21", "all 21"."""
    return f"all {of}" if n == of else f"{n or 'none'} of {of}"


def probability(p: float) -> str:
    """ "< 0.001", "= 0.02"."""
    return "< 0.001" if p < 0.001 else f"= {p:.1g}"
