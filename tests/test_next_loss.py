"""One loss more, as CONTRIBUTING has it: a function and an entry, and nothing else breaks."""

import contextlib
import io
import json
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from maclcore import Config, collect, paths, plots, train
from maclcore.__main__ import main
from maclcore.audit import evidence
from maclcore.audit.claims import ledger
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import paper, standing, tables
from maclcore.losses import (
    COLOURS,
    LOSSES,
    PAPER,
    Loss,
    build_loss,
    colours,
    pair_weights,
    register,
)
from maclcore.losses.pairs import Pairs, Terms, pairwise

matplotlib.use("agg")


@pairwise
def overlap(pairs: Pairs, *, temperature: float = 0.3, margin: float = 0.5):
    """W_ip as in LBase; of images that overlap less than `margin`, only those that share nothing
    are in the denominator."""
    among = (pairs.shared < 1) | (pairs.jaccard >= margin)
    return Terms(pairs.mean_over(pairs.jaccard), temperature, "active", among)


@pytest.fixture
def mine():
    """The next loss, registered for one test."""
    before = dict(LOSSES), dict(COLOURS)
    yield register(
        Loss(
            "overlap", "Overlap", colours.proposal(COLOURS), overlap, r"-\sum_p W_{ip} \log p_{ip}",
            source="a test", reference="none", licence="none",
        )
    )  # fmt: skip
    for table, entries in zip((LOSSES, COLOURS), before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture(scope="module")
def before():
    """What the store and the experiments say without it."""
    makes = [make for name, make in paper.EXPERIMENTS.items() if name != "other_losses"]
    runs = [c.run_id for make in makes for c in make("paper", "dlrsd")]
    return {"runs": runs, "tables": tables.stored_main_tables()}


@pytest.fixture(scope="module")
def verdicts():
    """The ledger without it."""
    return ledger()


def runs_of(loss, seeds):
    """Rows of `collect()` as if MACL's runs of the first table were also of this loss."""
    rows = collect()
    base = rows.index.str.split("@").str[0]
    table = tables.stored_main_tables()
    weights = table.loc[table["archive"] == "dlrsd", "weights"].iloc[0]
    configs = paper.main_tables("quick", "dlrsd", seeds, weights=weights)
    ids = {c.run_id: c.but(loss=loss, loss_params={}).run_id for c in configs if c.loss == "macl"}
    found = rows[base.isin(list(ids))]
    assert len(found) == len(seeds)
    found = found.set_axis([ids[name] for name in found.index.str.split("@").str[0]])
    return found.rename_axis("run_id").assign(loss=loss)


def test_its_weights_are_at_hand_and_its_module_has_a_gradient(mine):
    y = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0]])
    W, T = pair_weights("overlap", y)
    assert W[0].tolist() == pytest.approx([0, 1 / 3, 0, 2 / 3]) and (T == 0.3).all()
    z = torch.nn.functional.normalize(torch.arange(8.0).view(4, 2) + 1).requires_grad_()
    build_loss("overlap", temperature=0.1)(z, y).backward()
    assert z.grad.isfinite().all() and z.grad.abs().max() > 0


def test_the_papers_runs_stay_and_it_is_trained_beside_them_when_asked(mine, before):
    experiments = dict(paper.EXPERIMENTS)
    others = experiments.pop("other_losses")("quick", "dlrsd", (0, 1), weights="none")
    others = [c for c in others if c.loss == "overlap"]
    runs = [c.run_id for make in experiments.values() for c in make("paper", "dlrsd")]
    assert runs == before["runs"]
    main_table = paper.main_tables("quick", "dlrsd", (0, 1), weights="none")
    expected = [c.but(loss="overlap") for c in main_table if c.loss == "macl"]
    assert [c.run_id for c in others] == [c.run_id for c in expected]


def test_one_seed_of_it_leaves_every_other_row_where_it_was(mine, before, monkeypatch, capsys):
    rows = pd.concat([collect(), runs_of("overlap", [1])])
    monkeypatch.setattr(tables, "collect", lambda: rows)
    pd.testing.assert_frame_equal(tables.stored_main_tables(), before["tables"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "Overlap" in line]
    assert line.endswith("Overlap, seed 1: it lacks seed 0, 2") and "DLRSD*, quick" in line


def test_it_stands_behind_the_papers_in_tables_and_figures(mine, before, monkeypatch, capsys):
    rows = pd.concat([collect(), runs_of("overlap", [0, 1, 2])])
    monkeypatch.setattr(tables, "collect", lambda: rows)
    found = tables.stored_main_tables()
    assert len(found) == len(before["tables"]) + 3 and "Overlap" not in capsys.readouterr().err
    first = (found["archive"] == "dlrsd") & (found["profile"] == "quick")
    part = found[first & found["loss"].isin([*paper.METHODS, "overlap"])]
    labels = [LOSSES[name].label for name in PAPER]
    shown = list(tables.results_table(part).index)
    assert shown == ["Chance", "Frozen", *labels, "Overlap", "Oracle"]
    beside = tables.beside_paper(part)
    assert set(beside.index) == set(shown)
    assert (beside.xs("paper", axis=1, level=1).loc["Overlap"] == "–").all()
    order = list(standing.mean_ranks(standing.columns(part)).index)
    drawn = plots.archive_panels({"DLRSD*": (part, tables.paper_table("dlrsd"))}, order, order[0])
    names = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert set(names) == {*labels, "Overlap"} and len(names) == 14
    assert plots.colour("overlap") == mine.colour
    plt.close(drawn)


def test_verdicts_on_the_paper_do_not_change(verdicts, mine):
    loaded = evidence.Evidence.load()
    macl = loaded.runs[loaded.runs["method"] == "macl"]
    rows = [macl.assign(method=name, loss=name) for name in ("overlap", "forgotten")]
    rows = [part.assign(**dict.fromkeys(METRICS, 1.0)) for part in rows]  # above all others
    rows = [part.set_axis(part["method"] + part.index) for part in rows]
    more = replace(loaded, runs=pd.concat([loaded.runs, *rows]))
    pd.testing.assert_frame_equal(ledger(more), verdicts)


def test_it_trains_and_its_run_is_stored_told_and_judged(mine, archive, tiny, capsys):
    config = Config.from_profile(
        "quick", archive=str(archive), loss="overlap", weights="none", image_size=32, epochs=1
    )
    run = train(config, progress=False)
    assert collect().loc[run.run_id, "param: margin"] == 0.5
    assert main(["claims"]) == 0
    assert main(["sweep", "other_losses", "--archive", str(archive), "--dry-run"]) == 0
    assert "overlap-s0" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["00", "02", "03"])
def test_the_assertions_of_notebooks_hold(number, mine, monkeypatch, tmp_path):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    monkeypatch.chdir(paths.ROOT / "notebooks")
    (file,) = (paths.ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names, dtype = {"__name__": "__main__"}, torch.get_default_dtype()
    try:
        for source in code:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, file.name, "exec"), names)
    finally:
        torch.set_default_dtype(dtype)
        plt.close("all")
