"""The finding in sentences: what the stored runs say of the three systems, in words for everyone.

Each sentence is computed from the store, its counts, numbers and verbs too, so that none can differ
from the runs that it speaks of. Notebook 00 shows them, and the README has them from there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from maclcore import store
from maclcore.audit import one_label
from maclcore.audit.evidence import ARCHIVES, stored_label_statistics
from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import tables
from maclcore.experiments.paper import METHODS
from maclcore.experiments.words import interval, listed, minus
from maclcore.losses import PAPER, method_label
from maclcore.plots.audit import THRESHOLDS, from_chance

PRINTED, TURNED, HIGHER = "MACL, as printed", "MACL, α = −0.5, τ = 0.3, w = 1", "MulSupCon, τ = 0.5"
PLAIN, SOFT, SUMMED = "infonce", "SoftCon, λ = 0.1", "SoftCon, λ = 0.1, summed"


@dataclass(frozen=True)
class Finding:
    """The stored runs on real archives under one profile, and what they say.

    KeyError where the store lacks a system's runs.
    """

    profile: str = "quick"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Rows of `collect()`: the thirteen losses and the reference rows."""
        rows = tables.stored_main_tables()
        return rows[(rows["profile"] == self.profile) & rows["loss"].isin(METHODS)]

    @cached_property
    def means(self) -> pd.DataFrame:
        """Percent, (archive's title, loss) × metrics, over seeds."""
        return 100 * self.runs.groupby(["archive: title", "loss"])[list(METRICS)].mean()

    @cached_property
    def names(self) -> pd.Series:
        """Of each archive, by its title, the name."""
        return self.runs.groupby("archive: title")["archive"].first()

    @cached_property
    def published(self) -> dict[str, pd.DataFrame]:
        """The paper's table of each archive that it has, by our title."""
        found = {title: tables.paper_table(name) for title, name in self.names.items()}
        return {title: table for title, table in found.items() if table is not None}

    @cached_property
    def labels(self) -> pd.DataFrame:
        """What the labels alone say, a random ranking among it, over twenty splits."""
        return stored_label_statistics()

    @cached_property
    def gaps(self) -> dict[str, pd.DataFrame]:
        """Of each archive every loss minus MulSupCon, as `statistics.compare`."""
        return _compared(self.runs, "mulsupcon")

    @cached_property
    def turned(self) -> dict[str, pd.DataFrame]:
        """The same of MACL with other settings."""
        rows = tables.stored_alpha_sign()
        return _compared(rows[rows["profile"] == self.profile], "MulSupCon")

    @cached_property
    def soft(self) -> dict[str, pd.DataFrame]:
        """SoftCon minus its plain part."""
        return _compared(tables.stored_soft_weight(), PLAIN)

    @cached_property
    def weak(self) -> pd.DataFrame:
        """Losses for one label an image minus AdaGC, by (archive's title, loss)."""
        rows = one_label.measured()
        rows = rows[(rows["experiment"] == "weak_labels") & (rows["metric"] == "macro mAP")]
        return rows.set_index(["archive: title", "loss"])

    @cached_property
    def chain(self) -> pd.Series:
        """How much of what one label lacks completed labels bring back, by (title, loss, given)."""
        shares = {}
        rows = tables.stored_chain()
        rows = rows[rows["given"] != ""]
        for (title, loss), part in rows.groupby(["archive: title", "retrieval"]):
            values = store.per_query(part.assign(loss=part["given"]))
            share = statistics.share_of_gap(values, "one label", "complete")["share"]
            shares[title, loss] = 100 * share.xs("nDCG@100", level="metric")
        return pd.concat(shares)

    def sentences(self) -> list[str]:
        """Markdown, a finding each."""
        return [
            self._printed(), self._sign(), self._published(), self._leaders(), self._soft(),
            self._weak(),
        ]  # fmt: skip

    def text(self) -> str:
        """The sentences as a list in markdown."""
        return "\n".join(f"- {sentence}" for sentence in self.sentences())

    def _printed(self) -> str:
        gaps = pd.concat(self.gaps).xs("macl", level="loss")
        below, ndcg = (gaps["high"] < 0).sum(), gaps.xs("nDCG@100", level="metric")["difference"]
        frozen = self.means["nDCG@100"].unstack()
        worse = (frozen["macl"] < frozen["frozen"]).sum()
        return (
            "**MACL as printed** (α = 1.5, β = 0.1) is below MulSupCon, beyond the 95 % interval, "
            f"in {below} of {len(gaps)} comparisons of seven metrics on {len(self.gaps)} archives; "
            f"in `nDCG@100` by {_span(-100 * ndcg)} points. On {worse} of the {len(frozen)} "
            "archives its `nDCG@100` is below that of the network before training."
        )

    def _sign(self) -> str:
        pair = pd.concat(self.turned).xs("nDCG@100", level="metric")["difference"].unstack()
        strict = pd.concat(self.turned)[lambda t: t.index.get_level_values("metric").isin(
            ["mAP@0.6", "mAP@0.8"])]  # fmt: skip
        turned = strict.xs(TURNED, level="loss")
        sure = (turned["low"] > 0).sum()
        return (
            "**One reason is the sign of α.** At 1.5 two images with equal labels are pushed apart "
            "once they are close. With α = −0.5, τ = 0.3 and w = 1 MACL differs from MulSupCon by "
            f"{_span(100 * pair[TURNED], '+')} points of `nDCG@100`, and by "
            f"{_span(100 * turned['difference'], '+')} in `mAP@0.6` and `mAP@0.8`, beyond the "
            f"95 % interval in {sure} of these {len(turned)}. MulSupCon at τ = 0.5 for 0.3, a "
            f"higher temperature alone, gains {_span(100 * pair[HIGHER], '+')} of `nDCG@100`."
        )

    def _published(self) -> str:
        excess = pd.concat({
            title: from_chance(self.labels.loc[self.names[title]], table)
            for title, table in self.published.items()
        })  # fmt: skip
        near = f"{excess.abs().max(axis=None):.1f} points of a random ranking"
        wide = self.means[list(THRESHOLDS)]
        gap = wide.sub(wide.xs("chance", level=1), level=0)
        above = (gap[gap.index.isin(PAPER, level=1)] > 0).mean(axis=None)
        return (
            "**The published values** in the three columns that ask for much overlap "
            f"(`mAP@0.4`, `mAP@0.6`, `mAP@0.8`) all lie within {near}, {excess.size} values of "
            f"{listed(ARCHIVES[self.names[title]] for title in self.published)}: losses cannot be "
            f"ranked by them. Of ours {100 * above:.0f} % lie above a random ranking."
        )

    def _leaders(self) -> str:
        losses = self.means[self.means.index.isin(PAPER, level=1)]
        firsts = losses.groupby(level=0).agg(lambda column: column.idxmax()[1])
        count = firsts.stack().value_counts()
        best = count.index[0]
        per = (firsts == best).sum(axis=1)
        degree = firsts["nDCG(sim)@100"].value_counts()
        gap = pd.concat(self.gaps).xs(best, level="loss").xs("nDCG@100", level="metric")
        return (
            f"**First of the thirteen losses** in most columns is {method_label(best)}, in "
            f"{_span(per, digits=0)} of seven on each archive, ahead of MulSupCon by "
            f"{_span(100 * gap['difference'])} points of `nDCG@100`. In `nDCG(sim)@100`, which "
            f"counts shared labels, it is {method_label(degree.index[0])}, on {degree.iloc[0]} of "
            f"{len(firsts)} archives."
        )

    def _soft(self) -> str:
        wide = pd.concat(self.soft)["difference"].unstack("loss") * 100
        first = wide.xs("mAP(sim)@5000", level="metric")
        return (
            "**SoftCon**: at the weight of 0.1 that is passed on for it, averaged over pairs, the "
            f"soft labels move no metric by more than {wide[SOFT].abs().max():.1f} points. Summed "
            "over the candidates, another reading of the formula, they bring "
            f"{_span(first[SUMMED], '+')} points of `mAP(sim)@5000`."
        )

    def _weak(self) -> str:
        value = 100 * self.weak["value"].unstack()
        rivals = [name for name in value if name not in ("chance", "full", "gc")]
        best = value[rivals].max(axis=1)
        epr = self.weak.xs("epr", level="loss")
        sure = (epr["difference: high"] < 0).sum()
        share = self.chain.xs("GC", level=2)
        return (
            "**AdaGC**: with one known label an image its classifier has a macro mAP of "
            f"{_span(value['gc'])}, the best of its {len(rivals)} rivals {_span(best)}, complete "
            f"labels {_span(value['full'])}; it is ahead of EPR, from which it departs, on {sure} "
            f"of {len(value)} archives. For retrieval its completed labels bring back "
            f"{_span(share, digits=0)} % of the `nDCG@100` that training on the one label loses."
        )

    def table(self) -> pd.DataFrame:
        """What was compared × metric and archives, as text: points with their 95 % interval."""
        rows = [
            ("MACL as printed − MulSupCon", "nDCG@100", self.turned, PRINTED),
            ("MACL at α = −0.5, τ = 0.3, w = 1 − MulSupCon", "nDCG@100", self.turned, TURNED),
            ("LProto − MulSupCon", "nDCG@100", self.gaps, "lproto"),
            ("SoftCon, averaged − without its soft part", "mAP(sim)@5000", self.soft, SOFT),
            ("SoftCon, summed − without its soft part", "mAP(sim)@5000", self.soft, SUMMED),
        ]
        cells = {
            what: {"metric": metric} | {title: statistics.cells(gap).loc[name, metric].rstrip("°")
                                        for title, gap in of.items()}
            for what, metric, of, name in rows
        }  # fmt: skip
        columns = ["difference", "difference: low", "difference: high"]
        epr = -self.weak.xs("epr", level="loss")[
            columns
        ]  # EPR − AdaGC, turned, and its ends with it
        epr = epr.rename(columns={"difference: low": "high", "difference: high": "low"})
        cells["AdaGC − EPR, one label an image"] = {"metric": "macro mAP"} | {
            title: interval(row) for title, row in epr.iterrows()
        }
        return pd.DataFrame(cells).T.rename_axis("what, in points")


def _compared(rows: pd.DataFrame, reference: str) -> dict[str, pd.DataFrame]:
    return {
        title: statistics.compare(store.per_query(part), reference)
        for title, part in rows.groupby("archive: title")
    }


def _span(values: Iterable[float], sign: str = "", digits: int = 1) -> str:
    """The range of values, "0.9 to 1.1", or the one value that all have."""
    ends = [round(value, digits) + 0.0 for value in (min(values), max(values))]  # no −0.0
    ends = [minus(f"{value:{sign}.{digits}f}") for value in ends]
    return " to ".join(dict.fromkeys(ends))
