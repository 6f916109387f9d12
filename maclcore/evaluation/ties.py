"""Metrics of rankings with ties: expectations over the orders of what ties, in closed form."""

import torch
from torch import Tensor

from maclcore.evaluation.measures import discounts, precision_weights, running
from maclcore.evaluation.relevance import HARD, METRICS, Tables, look_up


class _Groups:
    """Lists in order, each a row of entries (Q, E) of `count` items; `fresh` opens a tie group.

    What holds for a group stands at its last entry (`last`): `start (Q, E)` items come before it,
    `size (Q, E)` are in it."""

    def __init__(self, count: Tensor, fresh: Tensor) -> None:
        entry = torch.arange(count.shape[1], device=count.device)
        self.opens = torch.where(fresh, entry, 0).cummax(dim=1).values
        self.last = torch.cat([fresh[:, 1:], torch.ones_like(fresh[:, :1])], dim=1)
        self.count = count
        self.start, self.size = self.sums(torch.ones_like(count))

    def sums(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of item values over all groups before, and within the group."""
        running = (self.count * values).cumsum(dim=1)
        before = (running - self.count * values).gather(1, self.opens)
        return before, running - before

    def spread(self, x: Tensor) -> Tensor:
        """Sums of x (n,) over those of the first n ranks that a group holds."""
        first, stop = (r.clamp(max=len(x)).long() for r in (self.start, self.start + self.size))
        sums = running(x)
        return sums[stop] - sums[first]


def average_over_ties(
    tables: Tables, of: Tensor, ranked: Tensor, count: Tensor, fresh: Tensor
) -> tuple[Tensor, Tensor]:
    """As `_in_order`, in expectation over all orders within tie groups; the probability of 0/0.

    Entry e of a list stands for `count (Q, E)` items of the label set `ranked (Q, E)`; `fresh`
    (Q, E) is True where it does not tie with the entry before. The lists are the whole gallery.
    """
    readings, at = tables.readings, ranked + (of * tables.phi.shape[1])[:, None]
    groups, top, values, none = _Groups(count, fresh), min(tables.top, tables.items), {}, {}
    for name, table in tables.hits.items():
        hit, k = look_up(table, at), min(readings.cutoff(name) or tables.items, tables.items)
        positives = None if tables.positives[name] is None else tables.positives[name][of]
        values[name], none[name] = _expected_ap(groups, hit, hit, positives, k, readings.area)
    for name, gain in tables.gains.items():
        mean = groups.sums(look_up(gain, at))[1] / groups.size.clamp(min=1)
        total = (mean * groups.spread(discounts(top, at.device)) * groups.last).sum(dim=1)
        ideal = tables.ideals[name][of]
        values[name], none[name] = total / ideal.where(ideal > 0, 1), ideal == 0
    phi, weight = look_up(tables.phi, at), look_up(tables.weight, at)
    values["wAP@100"], none["wAP@100"] = _expected_ap(groups, phi, weight, None, top, "rectangle")
    if readings.without_hit == "hard":
        none |= dict.fromkeys(HARD, ~tables.hard[of])
    return tuple(torch.stack([x[name].double() for name in METRICS], dim=1) for x in (values, none))


def _expected_ap(
    groups: _Groups, hit: Tensor, weight: Tensor, positives: Tensor | None, k: int, area: str
) -> tuple[Tensor, Tensor]:
    """E[AP@k] (Q,) of `average_precision`, 0 for 0/0, and the probability of 0/0; weight <= hit.

    A group of m items, r of them hits with weights of sum s, behind hits of weight W. One of its
    ranks is a hit with probability r/m, then follows weight W and, of each rank of the group
    before it, (s/r)(r - 1)/(m - 1), and adds s/r itself. If the cut leaves t of its ranks, x of
    them hits (hypergeometric), then x, t and s x/r take the places of r, m and s.
    """
    before, own = precision_weights(k, area, hit.device)
    (h, r), (w, s) = groups.sums(hit), groups.sums(weight)
    a, m = groups.start, groups.size
    on_before, on_own = groups.spread(before), groups.spread(own)
    # each rank's number of ranks before it in its group
    on_ranks = groups.spread(before * torch.arange(k, device=hit.device)) - a * on_before

    def total(r, m, s, w, on_before, on_ranks, on_own):
        mean = s / m.clamp(min=1)
        return r / m.clamp(min=1) * w * on_before + mean * (
            (r - 1) / (m - 1).clamp(min=1) * on_ranks + on_own
        )

    early = total(r, m, s, w, on_before, on_ranks, on_own) * (groups.last & (a + m < k))
    cut = (groups.last & (a < k) & (a + m >= k)).int().argmax(dim=1, keepdim=True)
    a, m, h, r, w, s, on_before, on_ranks, on_own = (
        v.gather(1, cut) for v in (a, m, h, r, w, s, on_before, on_ranks, on_own)
    )
    t = k - a
    least, most = (t - (m - r)).clamp(min=0), torch.minimum(r, t)
    x = least + torch.arange(int((most - least).max()) + 1, device=hit.device)
    ways = _log_choose(r, x) + _log_choose(m - r, t - x)
    probability = ways.softmax(dim=1)
    sums = early.sum(dim=1, keepdim=True) + total(
        x, t, s * x / r.clamp(min=1), w, on_before, on_ranks, on_own
    )
    divisor = h + x if positives is None else positives[:, None].expand_as(x)
    value = (probability * sums / divisor.clamp(min=1)).sum(dim=1)
    return value, (probability * (divisor == 0)).sum(dim=1)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient, -inf for k outside 0 ... n."""
    inside = (k >= 0) & (k <= n)
    k = torch.where(inside, k, 0)
    ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
    return ways.where(inside, -torch.inf)
