"""`runs`, `runs compare` and `runs recompute`: what the store holds, and how far it is right."""

from pathlib import Path

from tyro.conf import Positional

from maclcore.commands.shared import age, use
from maclcore.paths import runs_root


def runs(*, unfinished: bool = False) -> None:
    """List the runs of the store, the one touched last first: state, metrics, age and size.

    Metrics in percent: of a finished run on the test split, else of its last epoch on the
    validation split. `runs compare A B` tells what differs between two, `runs recompute A` computes
    one once more.
    Example: python -m maclcore runs --unfinished

    Args:
        unfinished: only running, failed, interrupted and damaged ones.
    """
    from maclcore.store import runs as list_runs

    table = list_runs()
    if unfinished:
        table = table[table["state"] != "finished"]
    if table.empty:
        print(f"no {'unfinished ' * unfinished}runs in {runs_root()}")
        return
    shown = table[["state"]].assign(epoch=[_of(*n) for n in table[["epoch", "epochs"]].to_numpy()])
    for name in ("mAP(sim)@5000", "mAP@0.8", "nDCG@100"):
        shown[name] = [f"{100 * value:.2f}" if value == value else "" for value in table[name]]
    shown["age"] = table["age"].map(age)
    shown["MB"] = (table["size"] / 1e6).round(1)
    print(shown.to_string(index_names=False))


def compare(a: Positional[str], b: Positional[str]) -> None:
    """What differs between two finished runs: configuration, versions, hardware, archive, metrics.

    Metrics in any case, in [0, 1], of the test split; the difference is b - a.
    Example: python -m maclcore runs compare RUN_ID OTHER_RUN_ID

    Args:
        a: a run's id, as `runs` lists it.
        b: another one.
    """
    from maclcore.store import compare as differences

    table = differences(a, b)
    print(f"a: {a}\nb: {b}")
    print(table.to_string(na_rep="", float_format=lambda value: f"{value:.4g}"))


def recompute(
    run: Positional[str],
    *,
    device: str | None = None,
    quiet: bool = False,
    data: Path | None = None,
) -> None:
    """Compute a stored run once more, beside it, and compare the two: is the stored one right here?

    From the same images, labels and weights, or it is an error that says what differs. The new run
    lies in results/recomputed/, where no table reads it; the same command takes up an interrupted
    one. Metrics in percent with 95 % intervals of the paired difference over queries.
    Example: python -m maclcore runs recompute RUN_ID

    Args:
        run: a finished run's id, as `runs` lists it.
        device: cpu, cuda, cuda:1, …; default: a GPU if there is one.
        quiet: no progress bar.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    from maclcore.experiments.recompute import agreement, weights_difference
    from maclcore.experiments.recompute import recompute as run_again
    from maclcore.store import compare as differences

    use(data)
    stored, again = run_again(run, device=device, progress=not quiet)
    table = agreement(stored, again)
    print(f"stored: {stored.folder}\nagain:  {again.folder}")
    print((100 * table).to_string(float_format=lambda value: f"{value:.2f}"))
    alike = ((table["low"] <= 0) & (table["high"] >= 0)).sum()
    print(f"{alike} of {len(table)} differences lie within their intervals around 0")
    largest = weights_difference(stored, again)
    print(
        "weights: the stored run's are not here"
        if largest is None
        else f"weights: {'equal bit for bit' if largest == 0 else f'up to {largest:.2g} apart'}"
    )
    others = differences(stored, again)
    others = others[others["difference"].isna()].drop(columns="difference", errors="ignore")
    if len(others):
        print("and what else differs:")
        print(others.set_axis(["stored", "again"], axis=1).to_string())


def _of(epoch: float, epochs: float) -> str:
    return f"{epoch:.0f}/{epochs:.0f}" if epochs == epochs else ""
