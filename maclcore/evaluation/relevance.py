"""What is relevant to what, by labels alone, and which readings of the paper that depends on.

With I labels that query and item share and U that either has, J = I / U is the Jaccard index (0
where both are empty). Items with the same label set are interchangeable, so relevance is looked up
in tables (Q, S) over the S distinct sets of a gallery.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from maclcore.evaluation.measures import ideal_dcg
from maclcore.labels import Array, as_labels, bit_sets, distinct_rows

#: column -> least Jaccard index of a relevant item; 0 asks for one shared label
MAP_THRESHOLDS = {"mAP(sim)@5000": 0.0, "mAP@0.4": 0.4, "mAP@0.6": 0.6, "mAP@0.8": 0.8}
METRICS = ("mAP(sim)@5000", "nDCG(sim)@100", *list(MAP_THRESHOLDS)[1:], "nDCG@100", "wAP@100")
HARD = list(MAP_THRESHOLDS)[1:]  # what without_hit="hard" leaves a query out of
TOP = 100  # cut-off of nDCG(sim), nDCG and wAP


@dataclass(frozen=True)
class Readings:
    """What the paper leaves open; the defaults are this project's reading.

    map_cutoff     k of mAP@0.4, @0.6 and @0.8; None: the whole list. mAP(sim) is cut at 5000.
    normaliser     AP divides by the relevant items in the list ("hits", Eqs. 11 and 14 as
                   printed), or by min(R, k) with R the relevant items of the gallery ("min").
    area           AP takes the precision at each hit ("rectangle"), or its mean with the
                   precision just before it ("trapezoid", as for the Oxford buildings).
    ideal          the ideal DCG is the best the gallery allows ("gallery"), or the retrieved
                   list re-sorted ("list").
    wap_threshold  phi of Eq. 18 is J > 0 (at 0.0), or J >= wap_threshold; items below it then
                   count as 0 in the inner mean too.
    wap_weight     the inner mean of Eq. 18 is of J ("jaccard"), or of the number of "shared"
                   labels; the values may then exceed 1.
    without_hit    a query whose value is 0/0, as it has nothing relevant in its list (or in the
                   gallery, if that is divided by), scores 0 ("zero") or is left out ("omit");
                   or a query without an item of J >= 0.8 in the gallery is left out of mAP@0.4,
                   @0.6 and @0.8, and 0/0 is 0 otherwise ("hard").
    ties           items of equal score keep the order of the gallery ("storage"), or each value
                   is the expectation over all orders of them ("average"); of a query left out in
                   some of the orders, over the others.

    Two published protocols, as `evaluate(..., **PROTOCOLS[name])`:

    |               | "macl" (the defaults)         | "oml" (released code of OML)                |
    |---------------|-------------------------------|---------------------------------------------|
    | queries       | each against all others       | a random fifth of the test split            |
    | gallery       | the other test images         | the other four fifths                       |
    | AP            | precision at hits (Eq. 11)    | area="trapezoid"                            |
    | its list      | whole (§4.3.1)                | whole, so hits = all positives              |
    | without a hit | 0 (not stated)                | without_hit="hard"                          |
    | nDCG(sim)     | ideal of the gallery          | ideal="list"; OML adds 1e-6 to the ideal    |
    | wAP           | mean J (Eq. 18)               | wap_weight="shared"                         |
    | nDCG          | gain 2^J - 1 (Eq. 16)         | not in OML                                  |
    | mAP(sim)@5000 | one shared label              | not in OML                                  |
    """

    map_cutoff: int | None = None
    normaliser: str = "hits"
    area: str = "rectangle"
    ideal: str = "gallery"
    wap_threshold: float = 0.0
    wap_weight: str = "jaccard"
    without_hit: str = "zero"
    ties: str = "storage"

    def __post_init__(self) -> None:
        choices = {
            "normaliser": "hits min",
            "area": "rectangle trapezoid",
            "ideal": "gallery list",
            "wap_weight": "jaccard shared",
            "without_hit": "zero omit hard",
            "ties": "storage average",
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed.split():
                raise ValueError(f"{name} is one of {allowed}, not {getattr(self, name)!r}")
        if (
            not (self.map_cutoff is None or self.map_cutoff >= 1)
            or not 0 <= self.wap_threshold <= 1
        ):
            raise ValueError(f"map_cutoff >= 1 or None, wap_threshold in [0, 1]; not {self}")
        if self.ties == "average" and self.ideal == "list":
            raise ValueError('ties="average" has no closed form for ideal="list": take "gallery"')

    def cutoff(self, name: str) -> int | None:
        return 5000 if name == "mAP(sim)@5000" else self.map_cutoff


PROTOCOLS = {
    "macl": {},
    "oml": {
        "area": "trapezoid",
        "ideal": "list",
        "wap_weight": "shared",
        "without_hit": "hard",
    },
}


class Relevance(NamedTuple):
    """Tables (Q, S), float64: shared labels, united labels, items of each set in the gallery."""

    shared: Tensor
    union: Tensor
    available: Tensor

    @property
    def jaccard(self) -> Tensor:
        return self.shared / self.union.clamp(min=1)

    def at_least(self, threshold: float) -> Tensor:
        """1 where J >= threshold and a label is shared. Compares whole numbers: 2/5 is 0.4."""
        ratio = Fraction(threshold).limit_denominator(1000)
        enough = ratio.denominator * self.shared >= ratio.numerator * self.union
        return (enough & (self.shared > 0)).double()

    def gains(self) -> dict[str, Tensor]:
        """2^I - 1 (Eq. 12) and 2^J - 1 (Eq. 16)."""
        return {"nDCG(sim)@100": self.shared.exp2() - 1, "nDCG@100": self.jaccard.exp2() - 1}

    def total(self, table: Tensor) -> Tensor:
        """Sums (Q,) of a table over the items of the gallery."""
        return (table * self.available).sum(dim=1)


class Overlap:
    """The label side of a search; `set_of (G,)` names each item's of the distinct `sets (S, L)`.

    Queries of the same label set fare alike: `query_set (Q,)` names each one's, and `first` has
    one query of each. Leave-one-out without a gallery: a list then holds G - 1 `items`."""

    def __init__(
        self,
        y_query: Array,
        y_gallery: Array | None = None,
        device: torch.device | str = "cpu",
        expect: tuple[int, ...] | None = None,
    ) -> None:
        self.leave_one_out = y_gallery is None
        query = as_labels(y_query, "y_query")
        gallery = query if self.leave_one_out else as_labels(y_gallery, "y_gallery")
        self.shape, self.items = (len(query), len(gallery)), len(gallery) - self.leave_one_out
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(f"y_query has {query.shape[1]} labels, not {gallery.shape[1]}")
        if self.shape != (expect or self.shape):
            raise ValueError(f"labels of {self.shape} (queries, gallery) images for {expect}")
        if not (len(query) and self.items):
            raise ValueError(f"nothing to search: {len(query)} queries, {self.items} items")
        query, gallery = (y.cpu().numpy() if isinstance(y, Tensor) else y for y in (query, gallery))
        first, set_of, counts = distinct_rows(bit_sets(gallery))
        alike = (first, set_of) if self.leave_one_out else distinct_rows(bit_sets(query))[:2]
        arrays = (gallery[first].astype("f4"), set_of, counts, query[alike[0]].astype("f4"), *alike)
        arrays = (torch.from_numpy(array).to(device) for array in arrays)
        self.sets, self.set_of, self.counts, self.query_sets, self.first, self.query_set = arrays

    def relevance(self, rows: slice) -> Relevance:
        """Tables of some queries."""
        return self.relevance_of(self.query_set[rows])

    def relevance_of(self, query_sets: Tensor) -> Relevance:
        """Tables of the queries with some of the distinct label sets."""
        y = self.query_sets[query_sets]
        shared = (y @ self.sets.T).double()  # whole numbers below 2^24 are exact in float32
        union = y.sum(dim=1, keepdim=True) + self.sets.sum(dim=1) - shared
        available = self.counts.double().repeat(len(y), 1)
        if self.leave_one_out:
            available.scatter_add_(1, query_sets[:, None], -torch.ones_like(available[:, :1]))
        return Relevance(shared, union, available)


class Tables:
    """All that values are looked up in: a row for each of some queries, a column for each set.

    `top`: TOP; `hits`: column of METRICS -> 1 where relevant (U, S); `positives`: what its AP
    divides by (U,), None for the hits in the list; `gains` (U, S) and `ideals` (U,) of the nDCGs,
    the latter None if taken from the list; `phi` and `weight` of Eq. 18 (U, S); `hard`: has an item
    of J >= 0.8."""

    def __init__(self, relevance: Relevance, readings: Readings) -> None:
        self.readings, self.items = readings, int(relevance.available[0].sum())
        self.top = TOP
        self.hits = {name: relevance.at_least(t) for name, t in MAP_THRESHOLDS.items()}
        self.hard, self.positives = relevance.total(self.hits["mAP@0.8"]) > 0, {}
        for name, hit in self.hits.items():
            found = relevance.total(hit).clamp(max=readings.cutoff(name) or self.items)
            self.positives[name] = found if readings.normaliser == "min" else None
        self.gains, self.ideals = relevance.gains(), dict.fromkeys(relevance.gains())
        if readings.ideal == "gallery":
            for name, gain in self.gains.items():
                self.ideals[name] = ideal_dcg(gain, relevance.available, self.top)
        self.phi, self.weight = wap_tables(relevance, readings)


def look_up(table: Tensor, at: Tensor) -> Tensor:
    return table.view(-1).gather(0, at.reshape(-1)).view_as(at)


def wap_tables(relevance: Relevance, readings: Readings) -> tuple[Tensor, Tensor]:
    """phi of Eq. 18 and what its inner mean is of, 0 where phi is."""
    phi = relevance.at_least(readings.wap_threshold)
    return phi, phi * getattr(relevance, readings.wap_weight)
