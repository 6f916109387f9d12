"""What the papers' claims are held against: their tables, stored runs, labels of real archives."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from maclcore import paths
from maclcore.audit import one_label
from maclcore.audit.breakdown import LABEL_GROUPS, by_frequency, frequency_groups
from maclcore.config import MAPPINGS, PROFILES, Config
from maclcore.data import load_archive, make_split
from maclcore.data.readers import READERS
from maclcore.evaluation.reference import chance, oracle
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments.tables import (
    TABLE,
    paper_table,
    stored_experiment,
    stored_main_tables,
)
from maclcore.labels import LabelStatistics, jaccard
from maclcore.losses import LOSSES, entry, method_label, pair_weights
from maclcore.store import Run, collect, histories, write_csv

#: archives of Tables 4 to 6
ARCHIVES = {name: READERS[name].title for name in ("dlrsd", "ml_aid", "whdld")}
SPLITS = range(20)
BATCH = 128
#: runs that are compared agree in these, and differ in what `method` names
PROTOCOL = ["profile", "image_size", "epochs", "weights", "archive: fingerprint"]
SYMBOLS = {"alpha": "α", "beta": "β", "temperature": "τ"}


@dataclass(frozen=True)
class Evidence:
    """Everything that a check may look at; it reads files and computes nothing large."""

    runs: pd.DataFrame  #: `comparable_runs`
    companions: pd.DataFrame  #: `companion_runs`
    one_label: pd.DataFrame  #: `one_label.measured()`: intervals of what those have no queries for
    rare: pd.DataFrame  #: the same rows as far as measured, metrics over `rare_queries`
    labels: pd.DataFrame  #: `label_statistics`, indexed by (archive, quantity)
    tables: dict[str, pd.DataFrame]  #: archive -> Table 4, 5 or 6, in percent
    pretraining: pd.DataFrame  #: Table 7, indexed by (archive, method, pretrained)
    quoted: pd.DataFrame  #: values that only the text states, with their place
    splits: pd.DataFrame  #: Table 2
    counts: pd.DataFrame  #: Table 3

    @classmethod
    def load(cls) -> "Evidence":
        """From the store and the tables; of `labels.csv` the store's own, or the published one."""
        runs, folder = comparable_runs(), paths.paper_root()
        measured = paths.results_root() / "rare_queries.csv"
        rare = pd.DataFrame(columns=["run_id", *METRICS])
        rare = (pd.read_csv(measured) if measured.is_file() else rare).set_index("run_id")
        return cls(
            runs=runs,
            companions=companion_runs(),
            one_label=one_label.measured(),
            # of some of the queries only means are stored
            rare=runs.drop(columns=list(METRICS))
            .join(rare[list(METRICS)], how="inner")
            .assign(**{"by query": False}),
            labels=stored_label_statistics(),
            tables={name: paper_table(name) for name in ARCHIVES},
            pretraining=pd.read_csv(folder / "table7.csv", index_col=[0, 1, 2]),
            quoted=pd.read_csv(folder / "quoted.csv", dtype={"value": float}),
            splits=pd.read_csv(folder / "table2.csv", index_col="archive"),
            counts=pd.read_csv(folder / "table3.csv", index_col="label"),
        )


def stored_label_statistics() -> pd.DataFrame:
    """`label_statistics` as the store has them, or else the published ones."""
    return pd.read_csv(paths.table("labels.csv"), index_col=["archive", "quantity"])


def method(loss: str, **setting: Any) -> str:
    """A loss and what it changes in its defaults and the recipe: "macl temperature=0.3"."""
    words = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in setting.items())
    return " ".join([loss, *sorted(words)])


def describe(name: str) -> str:
    """A `method` as sentences call it: "MACL (τ = 0.3, w = 1)"."""
    loss, *words = name.replace("reweight=False", "w=1").split()
    words = [word.split("=") for word in words]
    setting = ", ".join(f"{SYMBOLS.get(key, key)} = {value}" for key, value in words)
    setting = setting.replace("-", "−")
    return method_label(loss) + (f" ({setting})" if setting else "")


def comparable_runs() -> pd.DataFrame:
    """Rows of `collect()` in which nothing departs from the profile but the loss's parameters, the
    learning rate, the epochs and the initial weights; smoke runs left out.

    Adds `method`, `log seconds`, the last epoch's `mean_cosine`, and `by query`: that the store has
    the metrics of each query. Runs that start from random weights stand beside each choice of
    pretrained ones.
    """
    rows = _plain(collect())
    methods = []
    for row in rows.itertuples():
        defaults = LOSSES[row.loss].defaults if row.loss in LOSSES else {}
        given = json.loads(row.loss_params)
        setting = {k: v for k, v in given.items() if v != defaults.get(k)}
        if row.lr != Config.lr:
            setting["lr"] = row.lr
        if row.weights == "none":
            setting["weights"] = "none"
        methods.append(method(row.loss, **setting))
    rows = rows.assign(method=pd.Series(methods, rows.index, dtype=str))
    last = histories(rows).reindex(columns=["mean_cosine"]).groupby(level=0).last()
    rows = rows.join(last)
    # a parameter may be given at its default: the same run by another name
    rows = rows[~rows.reindex(columns=["archive", *PROTOCOL, "method", "seed"]).duplicated()]
    seconds = pd.Series(rows.get("seconds"), index=rows.index, dtype=float)
    rows["log seconds"] = np.log(seconds.where(seconds > 0))
    rows["by query"] = True
    scratch = rows["weights"] == "none"
    choices = rows.loc[~scratch, "weights"].unique()
    return pd.concat([rows[~scratch], *(rows[scratch].assign(weights=w) for w in choices)])


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of `rows` of `collect()` whose other fields are those of their profile."""
    varied = {"archive", "image_size", "epochs", "loss", "loss_params", "lr", "weights"}
    varied |= {"seed", "split_seed"}
    plain = pd.Series(False, rows.index)
    for profile in PROFILES.keys() - {"smoke"}:
        same = rows["split_seed"] == rows["seed"]
        for name, value in Config.from_profile(profile).to_dict().items():
            value = json.dumps(value) if name in MAPPINGS else value
            if name not in varied:
                same &= rows[name].isna() if value is None else rows[name] == value
        plain |= same
    return rows[plain]


def companion_runs() -> pd.DataFrame:
    """Stored runs of SoftCon's and AdaGC's experiments on real archives, with the `method` of each
    and its `experiment`; a run that belongs to two is in both."""
    names = ("soft_weight", "weak_labels", "weak_network", "calibration")
    rows = pd.concat([stored_experiment(name).assign(experiment=name) for name in names])
    methods = []
    for row in rows.itertuples():
        given = json.loads(row.loss_params) | json.loads(row.method_params)
        defaults = {**entry(row.loss).defaults, "labels_per_image": given.get("labels_per_image")}
        methods.append(method(row.loss, **{k: v for k, v in given.items() if v != defaults.get(k)}))
    rows["by query"] = rows["experiment"] == "soft_weight"  # the others predict labels
    return rows.assign(method=methods).rename(columns={"test: macro mAP": "macro mAP"})


def label_statistics(archives: Sequence[str] = ("dlrsd", "ml_aid")) -> pd.DataFrame:
    """What the labels of real archives say, (archive, quantity) -> mean and standard deviation
    over twenty random splits. Needs the archives in the data folder; takes a minute."""
    rows = {}
    for name in archives:
        y = load_archive(name, progress=False).labels
        splits = [make_split(y, seed) for seed in SPLITS]
        values = pd.DataFrame([_of_split(y[s.train], y[s.test]) for s in splits])
        for quantity in values:
            rows[name, quantity] = values[quantity].mean(), values[quantity].std().round(9)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "deviation"])
    table.index = pd.MultiIndex.from_tuples(table.index, names=["archive", "quantity"])
    return table


def rare_labels(counts: np.ndarray) -> np.ndarray:
    """(L,) bool: the rarest third of the labels, from the training images of each (L,)."""
    return (frequency_groups(pd.Series(counts)) == "rare").to_numpy()


def _of_split(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Floor and ceiling of the metrics on the test labels; what MACL makes of the training ones."""
    values = {f"chance {name}": 100 * v for name, v in chance(test).summary().items()}
    values |= {f"oracle {name}": 100 * v for name, v in oracle(test).summary().items()}
    # Eqs. 13 and 17 leave open of what order Z is; the best of the retrieved list lifts chance
    listed = chance(test, ideal="list", tolerance=2e-3).summary()
    for name in ("nDCG(sim)@100", "nDCG@100"):
        values[f"chance {name}, ideal of the list"] = 100 * listed[name]
    stats = LabelStatistics.from_labels(train)
    n = stats.counts.astype(float)
    rare = rare_labels(stats.counts)
    V, _ = pair_weights("mulsupcon", train)
    W, T = pair_weights("macl", train, stats)
    V, W, T = (m.double().numpy() for m in (V, W, T))
    J, positive = jaccard(train), V > 0
    w = np.divide(W, V, out=np.zeros_like(W), where=positive)
    # attraction by label: Σ over its pairs of carriers, each 1 / |P|, times w or w / T
    for name, pull in {"equal pairs": positive * 1.0, "w": w, "w / T": w / T}.items():
        by_label = ((train.T @ pull) * train.T).sum(axis=1) / np.maximum(n - 1, 1)
        values[f"attraction of rare labels, {name}"] = 100 * by_label[rare].sum() / by_label.sum()
    values["rank correlation of J and pull"] = spearmanr(J[positive], (W / T)[positive])[0]
    # two images with one label each: the same label in both, so J = 1
    twins = np.eye(len(n), dtype=bool).repeat(2, axis=0)
    W2, T2 = (m.double().numpy()[::2, 1::2].diagonal() for m in pair_weights("macl", twins, stats))
    # with a handful of images the count is that of the split, not of the label
    least, most = np.where(n >= 10, n, np.inf).argmin(), n.argmax()
    values["count, commonest / rarest"] = n[most] / n[least]
    values["w, rarest / commonest"] = W2[least] / W2[most]
    values["T, rarest / commonest"] = T2[least] / T2[most]
    return values | _of_batch(train[:BATCH], stats)


def _of_batch(y: np.ndarray, stats: LabelStatistics) -> dict[str, float]:
    """MACL's loss of a batch at given cosines, and the sum of its gradient where all are 0."""
    W, T = (m.double() for m in pair_weights("macl", y, stats))
    itself, values = torch.eye(len(y), dtype=torch.bool), {}
    cosines = {"0": np.zeros(W.shape), "1": np.ones(W.shape), "J": jaccard(y)}
    for name, s in cosines.items():
        s = torch.tensor(s, requires_grad=True)
        inside = (s / T).masked_fill(itself, -torch.inf)
        loss = (W * (inside.logsumexp(dim=1, keepdim=True) - s / T)).sum() / y.sum()
        loss.backward()
        values[f"loss, all cosines {name}"] = loss.item()
        if name == "0":
            values["net gradient, % of its size"] = 100 * (s.grad.sum() / s.grad.abs().sum()).item()
    return values


def measure() -> None:
    """Write the store's `labels.csv`, and for those of its runs whose archive is in the data folder
    `rare_queries.csv` and, of the main tables, `label_groups.csv`; a minute for the labels, a
    second a run.

    ArchiveError if dlrsd or ml_aid is not there.
    """
    write_csv(paths.results_root() / "labels.csv", label_statistics().reset_index())
    runs = comparable_runs()
    there = [name for name in ARCHIVES if (paths.data_root() / name).is_dir()]
    table = rare_queries(runs[runs["archive"].isin(there)])
    write_csv(paths.results_root() / "rare_queries.csv", table.reset_index())
    if len(groups := label_groups()):
        write_csv(paths.results_root() / LABEL_GROUPS, groups.reset_index())


def label_groups() -> pd.DataFrame:
    """`by_frequency` of the stored main tables whose archive is in the data folder, rows (run_id,
    group); empty if there are none."""
    tables = [pd.DataFrame()]
    for (archive, *_), part in stored_main_tables().groupby(TABLE):
        if (paths.data_root() / archive).is_dir():
            tables.append(by_frequency(part))
    return pd.concat(tables)


def rare_queries(runs: pd.DataFrame) -> pd.DataFrame:
    """Means of the metrics over those queries that carry a rare label, run_id -> METRICS, queries.

    Needs the archives of the runs, as labels do not lie beside the stored values; runs of another
    copy, with other images or labels, are left out.
    """
    rows = {}
    by = ["archive", "seed", "image_size", "archive: fingerprint"]
    for (archive, seed, size, fingerprint), part in runs.groupby(by):
        data = load_archive(archive, image_size=size, progress=False)
        if data.fingerprint != fingerprint:
            continue
        y = data.labels
        rare = rare_labels(y[make_split(y, seed).train].sum(axis=0))
        carries = pd.Series(y[:, rare].any(axis=1), index=data.names)
        for run_id in part.index.unique():
            values = Run.find(run_id).per_query
            values = values[carries[values.index].to_numpy()]
            rows[run_id] = {**values.mean(), "queries": len(values)}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run_id")
    return table.reindex(columns=[*METRICS, "queries"])
