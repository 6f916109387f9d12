"""`runs` and its second words: what the store holds, how far it is right, and where it lies."""

from pathlib import Path

from tyro.conf import Positional

from maclcore.commands.shared import Profile, age, use
from maclcore.paths import runs_root


def runs(*, unfinished: bool = False) -> None:
    """List the runs of the store, the one touched last first: state, metrics, age and size.

    Metrics in percent: of a finished run on the test split, else of its last epoch on the
    validation split. `runs compare A B` tells what differs between two, `runs recompute A` computes
    one once more, `runs pack NAME` moves some into one file.
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


def pack(
    name: Positional[str],
    run_ids: Positional[tuple[str, ...]] = (),
    *,
    experiment: str | None = None,
    profile: Profile | None = None,
    archive: str | None = None,
) -> None:
    """Move finished runs into one file, results/packed/NAME.parquet, as git has those of record.

    Everything reads them there as it did before. Weights and embeddings stay in the runs' folders.
    A run that another pack has stays there. The same command goes on where it was interrupted, and
    puts what has been computed since into the same file.
    Example: python -m maclcore runs pack quick-dlrsd-main_tables --experiment main_tables
    --profile quick --archive dlrsd

    Args:
        name: of the file.
        run_ids: which runs, as `runs` lists them; or else all that agree with the options:
        experiment: of this experiment, as `sweep` computes it.
        profile: of this profile.
        archive: of this archive.
    """
    from maclcore.store.pack import pack as put

    chosen = _chosen(run_ids, experiment, profile, archive)
    file = put(name, chosen)
    size = f"; {file.name} has {file.stat().st_size / 1e6:.1f} MB" if file.is_file() else ""
    print(f"{len(chosen)} runs are packed{size}")


def unpack(
    run_ids: Positional[tuple[str, ...]] = (),
    *,
    experiment: str | None = None,
    profile: Profile | None = None,
    archive: str | None = None,
) -> None:
    """Write the files of packed runs into folders of their own, byte for byte; the packs stay.

    Example: python -m maclcore runs unpack RUN_ID

    Args:
        run_ids: which runs, as `runs` lists them; or else all that agree with the options:
        experiment: of this experiment, as `sweep` computes it.
        profile: of this profile.
        archive: of this archive.
    """
    from maclcore.store.pack import unpack as take_out

    chosen = _chosen(run_ids, experiment, profile, archive)
    take_out(chosen)
    print(f"{len(chosen)} runs are in {runs_root()}")


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
    place = stored.pack.file if stored.pack else stored.folder
    print(f"stored: {place}\nagain:  {again.folder}")
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


def _chosen(
    run_ids: tuple[str, ...], experiment: str | None, profile: str | None, archive: str | None
) -> list[str]:
    """The finished runs that are named, or that agree with all that is given."""
    from maclcore.experiments import paper
    from maclcore.experiments.tables import of_experiments
    from maclcore.store import collect

    if bool(run_ids) == (experiment is not None or profile is not None or archive is not None):
        raise ValueError("say which runs: either their ids, or --experiment, --profile, --archive")
    if run_ids:
        return list(run_ids)
    if experiment is not None:
        paper.experiment(experiment)  # ValueError if there is none of that name
    rows = collect()
    for column, value in (("profile", profile), ("archive", archive)):
        rows = rows if value is None else rows[rows[column] == value]
    rows = rows if experiment is None else of_experiments([experiment], rows)
    if rows.empty:
        raise ValueError("no finished run is of that experiment, profile and archive")
    return list(rows.index)
