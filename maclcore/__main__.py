"""The command line: `python -m maclcore VERB --help`.

data, train, evaluate, runs, sweep, notebooks, claims, search. The options of `train` are the fields
of Config.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maclcore.config import PROFILES, Config, nearest
from maclcore.paths import figures_root, results_root, runs_root

Profile = Literal["smoke", "quick", "frozen", "paper"]
Positional = tyro.conf.Positional


def data(
    archive: Positional[str] = "synthetic",
    *,
    image_size: int = 64,
    data: Path | None = None,
) -> None:
    """Check an archive, decode it into the cache and print its data sheet.

    `data prepare ARCHIVE` first downloads it, or unpacks what you have downloaded; see its --help.
    Example: python -m maclcore data dlrsd --data ~/archives

    Args:
        archive: synthetic, dlrsd, ucm_multilabel, ml_aid, whdld, or a folder with images/ and
            labels.csv.
        image_size: side of the decoded images in pixels.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    from maclcore.data import describe, load_archive

    print(describe(load_archive(archive, image_size=image_size, root=data)))


def prepare(
    archive: Positional[str],
    *,
    given: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = (),
    image_size: int = 64,
    data: Path | None = None,
) -> None:
    """Download or unpack an archive, check it, decode it into the cache, print its data sheet.

    Example: python -m maclcore data prepare ucm_multilabel
    Example: python -m maclcore data prepare ml_aid --from ~/Downloads/aid_multilabel.zip

    Args:
        archive: dlrsd, ucm_multilabel, ml_aid or whdld.
        given: what you have downloaded: zip and tar.gz files, tables, or a folder of them or of
            what was in them; default: download it, going on where an earlier attempt stopped.
        image_size: side of the decoded images in pixels.
        data: the folder to put it in, under its name; default: MACL_DATA.
    """
    from maclcore.data.prepare import data_sheet
    from maclcore.data.prepare import prepare as run_preparation

    print(data_sheet(run_preparation(archive, given, image_size=image_size, root=data), data))


def train(
    config: Config, *, device: str | None = None, quiet: bool = False, tensorboard: bool = False
) -> None:
    """Train one configuration, evaluate it on the test split and store the run.

    The same command resumes an interrupted run, and shows a finished one of the same images, labels
    and weights; of others it is another run.
    Example: python -m maclcore train --profile quick --archive dlrsd --loss macl
    --loss-params temperature 0.3
    Example: torchrun --nproc-per-node 4 -m maclcore train --archive dlrsd

    Args:
        config: the run; --profile sets the defaults of the other fields.
        device: cpu, cuda, cuda:1, …; default: a GPU if there is one.
        quiet: no progress bar.
        tensorboard: also write the log as events into the run's folder, for `tensorboard --logdir`;
            MACL_TENSORBOARD=1 does the same for any command.
    """
    from maclcore.training import train as run_training

    if tensorboard:
        os.environ["MACL_TENSORBOARD"] = "1"
    run = run_training(config, progress=not quiet, device=device)
    if int(os.environ.get("RANK", 0)):  # one of several processes says it for all
        return
    if quiet and not run.computed:  # else it has been said
        print(run.provenance, file=sys.stderr)
    _print_metrics({config.loss: run.metrics, "  backbone": run.result["metrics_backbone"]})
    print(run.run_id)


def evaluate(
    run: Positional[str | None] = None,
    *,
    archive: str | None = None,
    split: Literal["test", "validation", "train", "all"] = "test",
    labels_only: Path | None = None,
    data: Path | None = None,
) -> None:
    """Evaluate a finished run between chance and oracle, on any split or another archive.

    Or say between what any run on a label table must lie, before there is one.
    Example: python -m maclcore evaluate RUN_ID --split validation
    Example: python -m maclcore evaluate --labels-only my.csv

    Args:
        run: a run's id, as `train` prints it.
        archive: evaluate on this archive, of which test and validation must hold no image that the
            run was trained on; default: the one it was trained on, which must be as it was.
        split: which part; each image once as query, the others as gallery.
        labels_only: a table, one row an image: its name, then 0 or 1 for each label. No run then.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    if (run is None) == (labels_only is None):
        raise ValueError("give either a run's id or --labels-only with a table")
    if labels_only is not None:
        if archive is not None or split != "test":
            raise ValueError("--labels-only takes all rows of its table: no --archive, no --split")
        return _frame(labels_only)
    import numpy as np
    import torch

    from maclcore.evaluation import reference
    from maclcore.evaluation.embedding import embed
    from maclcore.evaluation.retrieval import evaluate as measure
    from maclcore.models.network import resolve_precision
    from maclcore.store import Run
    from maclcore.store.identity import unseen
    from maclcore.training import load_model

    found = Run.find(run)
    config = found.config
    source = _archive_of(found, archive, data)
    model = load_model(found)
    parts = source.split(config.split_seed)._asdict()
    index = np.arange(len(source.images)) if split == "all" else parts[split]
    if source.fingerprint != found.identity["archive"] and split in ("test", "validation"):
        if seen := (~unseen(found, source, index)).sum():
            raise ValueError(
                f"{found.run_id} was trained on {seen:,} of the {len(index):,} images of this "
                "split: take an archive without them, or --split all to measure seen ones as well"
            )
    precision = resolve_precision(config.precision, torch.device("cpu"), config.image_size)
    z, h = embed(model, source.images, index, precision=precision)
    if config.frozen_views:  # its head saw stored features, and was measured on them, in float32
        with torch.inference_mode():
            z = model.project(h)
    y = source.labels[index]
    print(f"{source.title}, {split}: {len(index)} queries, each against the others")
    _print_metrics(
        {
            "chance": reference.chance(y).summary(),
            config.loss: measure(z, y).summary(),
            "  backbone": measure(h, y).summary(),
            "oracle": reference.oracle(y).summary(),
        }
    )


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
    shown["age"] = table["age"].map(_age)
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

    _use(data)
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


def sweep(
    experiments: Positional[tuple[str, ...]] = ("main_tables",),
    *,
    profile: Profile = "smoke",
    archive: tuple[str, ...] = ("synthetic",),
    seeds: tuple[int, ...] = (0,),
    weights: str | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    jobqueue: Literal["slurm", "pbs"] | None = None,
    retries: int = 1,
    budget: str | None = None,
    dry_run: bool = False,
) -> None:
    """Run what the store lacks of experiments, the tables and figures of the paper.

    The same command goes on where it was interrupted; a second one beside it shares the work. A run
    that fails holds nobody up: it is named at the end, and `runs` lists it as failed.
    Example: python -m maclcore sweep all --profile paper --archive dlrsd ml_aid --seeds 0 1 2
    Example: python -m maclcore sweep main_tables --workers 2 --budget 25m
    Example: python -m maclcore sweep main_tables alpha_beta --scheduler tcp://head:8786

    Args:
        experiments: main_tables (Tables 4-6), alpha_beta (Figure 9), temperature (Figure 10),
            learning_rate (Figure 11), pretraining (Table 7), alpha_sign; or all.
        profile: smoke, quick, frozen or paper.
        archive: one or several, each as for `train`.
        seeds: each with its own split.
        weights: overrides the profile's initial weights.
        workers: processes that share this machine's threads, or have a GPU each; 1: this one.
        scheduler: address of a Dask scheduler (extra `cluster`); the workers see results and
            archives where this machine does.
        jobqueue: start `workers` jobs through dask-jobqueue, set up by its own configuration file.
        retries: how often a run that failed is tried again.
        budget: such as 25m or 1h30m: one seed of everything first, and nothing is started that by
            the stored times does not fit.
        dry_run: list the runs, what each would cost and how that is known, and stop.
    """
    from maclcore.experiments.paper import EXPERIMENTS
    from maclcore.experiments.sweep import estimate, lacking
    from maclcore.experiments.sweep import sweep as run_sweep

    names = EXPERIMENTS if experiments == ("all",) else experiments
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}{nearest(name, EXPERIMENTS)}")
    overrides = {} if weights is None else {"weights": weights}
    configs = [
        config
        for name in names
        for place in archive
        for config in EXPERIMENTS[name](profile, place, seeds, **overrides)
    ]
    if dry_run:
        todo = lacking(configs)
        costs = estimate(todo)
        for config, (seconds, basis) in zip(todo, costs.to_numpy(), strict=True):
            cost = f"{_age(seconds)}, {basis}" if seconds == seconds else basis
            print("to run", config.run_id, dict(config.loss_params) or "", f"({cost})")
        known = costs["seconds"].sum()
        unknown = f"; {costs['seconds'].isna().sum()} of them unknown" * costs["seconds"].hasnans
        print(f"{len(todo)} of {len(set(configs))} runs, some {_age(known)} in all{unknown}")
        return
    rows = run_sweep(
        configs,
        workers=workers,
        scheduler=scheduler,
        jobqueue=jobqueue,
        retries=retries,
        budget=None if budget is None else _seconds(budget),
    )
    print(rows[["loss", "loss_params", "seed", "mAP(sim)@5000", "mAP@0.8", "nDCG@100"]].to_string())


def notebooks(
    *,
    profile: Profile = "smoke",
    archive: str = "synthetic",
    seeds: tuple[int, ...] = (0,),
    weights: str | None = None,
    only: tuple[str, ...] = (),
    jobs: int | None = None,
) -> None:
    """Run the numbered notebooks through papermill, in parallel where they are independent.

    Executed copies and log.txt land in results/executed/, figures in figures/. Where one fails,
    those that do not need it are still run.
    Example: python -m maclcore notebooks --profile quick --archive dlrsd --jobs 4

    Args:
        profile: smoke, quick, frozen or paper.
        archive: as for `train`.
        seeds: each with its own split.
        weights: initial weights; default: the profile's.
        only: numbers of the notebooks to run, such as 05 06.
        jobs: notebooks at a time; default: the number of cores.
    """
    from maclcore.experiments.notebooks import run as run_notebooks

    parameters = {"profile": profile, "archive": archive, "weights": weights}
    parameters["seeds"] = list(seeds)  # papermill writes a tuple as text
    start = time.perf_counter()
    table = run_notebooks(parameters, only, jobs=jobs)
    failed = table.index[table["error"] != ""]
    print(f"\n{len(table)} notebooks, {table['figures'].sum()} figures, {len(failed)} failed")
    print(f"{time.perf_counter() - start:.0f} s; {table['seconds'].sum():.0f} s one by one")
    print(f"executed notebooks: {results_root() / 'executed'}")
    print(f"tables and runs:    {results_root()}\nfigures:            {figures_root()}")
    if len(failed):
        raise ChildProcessError(f"not done, see above or log.txt: {', '.join(failed)}")


def claims(*, measure: bool = False, output: Path | None = None) -> None:
    """Hold the paper's claims against its tables, labels and the stored runs: the ledger.

    Example: python -m maclcore claims --measure --output claims.csv

    Args:
        measure: first measure anew what needs the archives: the labels of dlrsd and ml_aid, and the
            stored runs on queries with rare labels. Takes minutes.
        output: the file to write; default: claims.csv in the results folder.
    """
    from maclcore.audit import evidence
    from maclcore.audit.claims import ledger
    from maclcore.store import write_csv

    if measure:
        evidence.measure()
    table = ledger()
    output = output or results_root() / "claims.csv"
    write_csv(output, table)
    print(table["verdict"].value_counts().to_string(header=False))
    print(output)


def search(
    run: Positional[str],
    images: Positional[tuple[Path, ...]],
    *,
    k: int = 5,
    archive: str | None = None,
    data: Path | None = None,
) -> None:
    """Search the archive of a finished run by example.

    Example: python -m maclcore search RUN_ID my_photo.jpg --k 10

    Args:
        run: a run's id, as `train` prints it.
        images: image files to search with; one that cannot be read stops no other.
        k: how many results for each.
        archive: search this archive; default: the one the run was trained on, as it was.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    if k < 1:
        raise ValueError(f"k is {k}: a search has at least 1 result")
    import numpy as np

    from maclcore.data.cache import decode
    from maclcore.evaluation.embedding import embed
    from maclcore.evaluation.ranking import search as nearest_images
    from maclcore.store import Run
    from maclcore.training import load_model

    found = Run.find(run)
    source = _archive_of(found, archive, data)
    model = load_model(found)
    pixels, problems = {}, []
    for file in images:
        try:
            pixels[file] = decode(file, found.config.image_size)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if pixels:
        queries, _ = embed(model, np.stack(list(pixels.values())))
        gallery, _ = embed(model, source.images)
        order, cosine = nearest_images(queries, gallery, k)
        for file, row, values in zip(pixels, order.tolist(), cosine.tolist(), strict=True):
            print(file)
            for i, value in zip(row, values, strict=True):
                present = zip(source.label_names, source.labels[i], strict=True)
                labels = ", ".join(name for name, on in present if on)
                print(f"  {value:.3f}  {source.names[i]:20} {labels}")
    if problems:
        raise ValueError("; ".join(problems))


def _chosen(
    run_ids: tuple[str, ...], experiment: str | None, profile: str | None, archive: str | None
) -> list[str]:
    """The finished runs that are named, or that agree with all that is given."""
    from maclcore.experiments.paper import EXPERIMENTS, of_experiment
    from maclcore.store import collect

    if bool(run_ids) == (experiment is not None or profile is not None or archive is not None):
        raise ValueError("say which runs: either their ids, or --experiment, --profile, --archive")
    if run_ids:
        return list(run_ids)
    if experiment is not None and experiment not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {experiment!r}{nearest(experiment, EXPERIMENTS)}")
    rows = collect()
    for column, value in (("profile", profile), ("archive", archive)):
        rows = rows if value is None else rows[rows[column] == value]
    rows = rows if experiment is None else of_experiment(experiment, rows)
    if rows.empty:
        raise ValueError("no finished run is of that experiment, profile and archive")
    return list(rows.index)


def _use(data: Path | None) -> None:
    """Let the folder of the archives, and of weights, be that of --data."""
    if data is not None:
        os.environ["MACL_DATA"] = str(data.expanduser().absolute())


def _archive_of(run: "Run", archive: str | None, data: Path | None) -> "Archive":  # noqa: F821
    """The archive named, or else the run's own, if that is what the run was made from."""
    from maclcore.data import load_archive
    from maclcore.store.identity import check, identify

    _use(data)
    if archive is not None:
        return load_archive(archive, image_size=run.config.image_size)
    source = identify(run.config)
    try:
        check(run, source)
    except ValueError as error:
        raise ValueError(f"{error}; --archive names the one to take instead") from error
    return source.archive


VERBS: dict[str, Callable[..., None]] = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "runs": runs,
    "sweep": sweep,
    "notebooks": notebooks,
    "claims": claims,
    "search": search,
}
SECOND = {
    ("data", "prepare"): prepare,
    ("runs", "compare"): compare,
    ("runs", "pack"): pack,
    ("runs", "unpack"): unpack,
    ("runs", "recompute"): recompute,
}


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if verb := SECOND.get(tuple(arguments[:2])):
            prog = " ".join(["python -m maclcore", *arguments[:2]])
            tyro.cli(verb, prog=prog, args=arguments[2:])
            return 0
        tyro.extras.subcommand_cli_from_dict(
            {**VERBS, "train": _train_with_profile(arguments)},
            prog="python -m maclcore",
            description=__doc__,
            args=arguments,
        )
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from what is saved", file=sys.stderr)
        return 130
    except ERRORS as error:
        if os.environ.get("MACL_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        if type(error) is RuntimeError:  # torch's own, of which nobody here has thought
            print("MACL_TRACEBACK=1 before the command shows where it comes from", file=sys.stderr)
        return 1
    return 0


#: what is told in a line; anything else is a fault of the program, and shows where it is
ERRORS = (ValueError, TypeError, LookupError, OSError, ArithmeticError, ImportError, RuntimeError)


def _train_with_profile(arguments: list[str]) -> Callable[..., None]:
    """`train` whose defaults are those of the profile that the command line names."""
    profile = "smoke"
    for word, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--profile" and value in PROFILES:
            profile = value
        elif word.startswith("--profile="):
            profile = word.split("=", 1)[1]
    default = Config.from_profile(profile)

    def train_verb(
        config: Annotated[Config, tyro.conf.arg(name="")] = default,
        *,
        data: Path | None = None,
        device: str | None = None,
        quiet: bool = False,
        tensorboard: bool = False,
    ) -> None:
        _use(data)
        train(config, device=device, quiet=quiet, tensorboard=tensorboard)

    train_verb.__doc__ = train.__doc__
    return train_verb


def _frame(table: Path) -> None:
    """Print floor and ceiling of every metric, from the labels of a table."""
    from maclcore.data import read_labels
    from maclcore.evaluation.reference import chance, oracle

    y, label_names = read_labels(table)
    print(f"{table.name}: {len(y):,} images, {len(label_names)} labels; each a query to the others")
    rows = {"chance": chance(y)}
    rows |= {f"oracle, {by}": oracle(y, by=by, ties="average") for by in ("jaccard", "shared")}
    _print_metrics({name: row.summary() for name, row in rows.items()})
    print("ceilings: the higher oracle; wAP has none")


def _of(epoch: float, epochs: float) -> str:
    return f"{epoch:.0f}/{epochs:.0f}" if epochs == epochs else ""


def _age(seconds: float) -> str:
    """In the largest unit that leaves at least one of it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _seconds(budget: str) -> float:
    import pandas as pd

    try:
        if budget[-1:].isdigit():  # which pandas takes for nanoseconds
            raise ValueError
        return pd.Timedelta(budget).total_seconds()
    except ValueError as error:
        raise ValueError(f"not a duration: {budget!r}; such as 90s, 25m, 1h30m or 2d") from error


def _print_metrics(rows: dict[str, dict[str, float]]) -> None:
    import pandas as pd

    table = pd.DataFrame({name: row for name, row in rows.items() if row}).T * 100
    print(table.to_string(float_format=lambda value: f"{value:.2f}"))


if __name__ == "__main__":
    sys.exit(main())
