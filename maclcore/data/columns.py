"""What the columns of one's own table mean: names, labels, and what else is kept.

The column of names is the one of which most cells name images. Of the others are, by what they
hold,

labels       each column of nothing but yes and no (0/1, 1.0, 1,0, true/false, yes/no, y/n, t/f, x;
             blank is no), unless it is called as in OTHER. In a table that has but a name and then
             0 or 1 in all cells, all of them are, whatever they are called.
             Where no column is so, the one called labels or tags, or else classes or categories,
             which name labels, separated by `;`, `|` or `,`, or as a list; in one called label,
             tag, class or category a cell is a label. An image may have several rows then.
coordinates  longitude and latitude, also as lon, lng, long, lat, or x and y
a split      `split`, of train, validation and test

and all but labels are kept as they are. What could be both, or nearly is one of these, is a fault;
`label_columns` or `labels_column` says which is meant.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from maclcore.config import nearest
from maclcore.data.cells import yes_no
from maclcore.data.layout import Images
from maclcore.data.reading import CELLS, COLUMNS, Reading
from maclcore.data.split import SPLIT
from maclcore.data.tables import Table

STRONG, WEAKER = ("labels", "tags", "label", "tag"), ("classes", "categories", "class", "category")
ONE_A_CELL = ("label", "tag", "class", "category")
LONGITUDE, LATITUDE = ("longitude", "lon", "lng", "long", "x"), ("latitude", "lat", "y")
OTHER = (*SPLIT, "fold", "id", "index", *LONGITUDE, *LATITUDE)
NAMES = ("", "image", "images", "name", "names", "file", "filename", "file_name", "path", "id")

REMEDY = (
    "say which columns they are, as --label-columns a,b,c, or which one names them, as "
    "--labels-column labels (and --write-labels labels.csv, for a table that needs neither)"
)
UNCLEAR = f"table whose labels are not clear: {REMEDY}"
NEARLY = f"column of 0 and 1, but for some cells: correct them, or, if it is no label, {REMEDY}"


class Meaning(NamedTuple):
    """Which columns of a table are what, as indices into its header."""

    name: int
    labels: tuple[int, ...] = ()  #: a column a label
    listed: int | None = None  #: the column that names labels
    several: bool = False  #: whether one of its cells may name several
    others: tuple[int, ...] = ()


def meaning(
    reading: Reading,
    file: str,
    table: Table,
    images: Images,
    label_columns: Sequence[str] = (),
    labels_column: str = "",
) -> Meaning | None:
    """What the columns mean, as told above; None, and faults, where that is not clear.

    ValueError if both of the last are given.
    """
    if label_columns and labels_column:
        raise ValueError("label_columns or labels_column? Labels are read from one of them")
    header, cells = table.header, [table.column(j) for j in range(len(table.header))]
    chosen = [*label_columns, labels_column] if labels_column else [*label_columns]
    plain = not chosen and is_plain(table)
    name = 0 if plain else _name_column(header, cells, images)
    beside = [j for j in range(len(header)) if j != name and not _counts_rows(header[j], cells[j])]
    wrong = [*_wrong(table, cells, beside, chosen)]
    first, data = header[name], not plain or all(label in CELLS for label in header[1:])
    if data and first.casefold() not in NAMES and images.match([first]) != [None]:
        wrong.append(f"the first line is of an image, {first}: name the columns above it")
    if wrong:
        reading.faults[COLUMNS] += [f"{file}: {what}" for what in wrong]
        return None
    if plain:
        return Meaning(name, tuple(beside))
    picked = tuple(header.index(label) for label in chosen)
    filled = [j for j in beside if any(cells[j]) or j in picked]
    if empty := _without(beside, filled):
        reading.said.append(f"empty columns left out: {named(header, empty)}")
    if label_columns:
        return Meaning(name, picked, others=_without(filled, picked))
    if labels_column:
        return Meaning(name, listed=picked[0], several=True, others=_without(filled, picked))
    return _by_content(reading, file, header, cells, name, filled)


def _by_content(
    reading: Reading, file: str, header: list[str], cells: list[list[str]], name: int,
    filled: list[int],
) -> Meaning | None:  # fmt: skip
    called = {j: header[j].casefold() for j in filled}
    share = {j: yes_no(cells[j])[1] for j in filled if called[j] not in OTHER}
    sure = [j for j in share if share[j] == 1 and None not in yes_no(cells[j])[0]]
    nearly = [j for j in share if share[j] >= 0.5 and j not in sure]
    lists = [j for j in filled if called[j] in STRONG and j not in sure]
    weaker = [j for j in filled if called[j] in WEAKER and j not in sure]
    if sure and lists or len(lists or weaker) > 1 and not sure:
        could = named(header, lists or weaker)
        could += f", or {named(header, sure)} of 0 and 1" if sure else ""
        reading.faults[UNCLEAR].append(f"{file}: could be labels: {could}")
        return None
    if sure or nearly and not lists and not weaker:
        labels = tuple(sorted(sure + nearly))
        for j in nearly:
            odd = [x for x, yes in zip(cells[j], yes_no(cells[j])[0], strict=True) if yes is None]
            what = f"{header[j]} has {odd[0]!r} and the like in {len(odd):,} of {len(cells[j]):,}"
            reading.faults[NEARLY].append(f"{file}: {what} rows")
        return Meaning(name, labels, others=_without(filled, labels))
    if lists or weaker:
        (listed,) = lists or weaker
        several = called[listed] not in ONE_A_CELL
        return Meaning(name, listed=listed, several=several, others=_without(filled, [listed]))
    reading.said.append(f"no column of {file} is known for labels, by its name or by 0 and 1")
    return Meaning(name, others=tuple(filled))


def is_plain(table: Table) -> bool:
    """Whether it is as the plain layout has it: a name, then 0 or 1 for each label."""
    labels = table.header[1:]
    whole = all(len(cells) == len(table.header) for _, cells in table.lines)
    sound = whole and all(labels) and 0 < len({*labels}) == len(labels)
    return sound and all(cell in CELLS for _, (_, *cells) in table.lines for cell in cells)


def named(header: Sequence[str], columns: Iterable[int]) -> str:
    return ", ".join(repr(header[j]) for j in columns)


def _name_column(header: list[str], cells: list[list[str]], images: Images) -> int:
    """The column of which most cells name images; of equal ones the first that has a name."""

    def fits(j: int) -> tuple[int, bool]:
        return sum(key is not None for key in images.match(cells[j][:1000])), bool(header[j])

    best = max(range(len(header)), key=fits)
    if fits(best)[0]:
        return best
    return next((j for j in range(len(header)) if not _counts_rows(header[j], cells[j])), 0)


def _counts_rows(name: str, cells: list[str]) -> bool:
    """Whether a column only counts the rows, as pandas writes it."""
    return name in ("", "Unnamed: 0") and cells == [str(i) for i in range(len(cells))] != []


def _wrong(
    table: Table, cells: list[list[str]], beside: list[int], chosen: list[str]
) -> Iterator[str]:
    names = [table.header[j] for j in beside]
    yield from (f"no column {x!r}{nearest(x, names)}" for x in chosen if x not in names)
    yield from (f"{n} columns {x!r}" for x, n in Counter(names).items() if x and n > 1)
    if any(not table.header[j] and any(cells[j]) for j in beside):
        yield "a column without a name"
    if len(table.header) == 1:
        yield "no label"
    if not table.lines:
        yield "no row"


def _without(columns: Iterable[int], other: Iterable[int]) -> tuple[int, ...]:
    return tuple(j for j in columns if j not in {*other})
