"""The command line, called in-process on a small archive of the user's own."""

import numpy as np
import pytest
from PIL import Image

from maclcore.__main__ import VERBS, main
from maclcore.experiments import EXPERIMENTS
from maclcore.store import collect


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "nowhere"))
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = ["image,bright,dark"]
    for i in range(30):
        bright = i % 2
        pixels = generator.integers(120 * bright, 120 * bright + 100, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"img{i:02}.png")
        lines.append(f"img{i:02},{bright},{1 - bright}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def test_from_data_to_search(archive, capsys):
    assert main(["data", str(archive), "--image-size", "32"]) == 0
    assert "30 images at 32 px" in capsys.readouterr().out

    words = ["--archive", str(archive), "--epochs", "1", "--batch-size", "8"]
    words += ["--loss-params", "alpha", "0.5", "--backbone", "shufflenet_v2_x0_5", "--quiet"]
    assert main(["train", *words]) == 0
    run_id = capsys.readouterr().out.split()[-1]
    row = collect().loc[run_id]
    assert row["profile"] == "smoke" and row["epochs"] == 1 and row["param: alpha"] == 0.5
    assert row["image_size"] == 32  # the profile's value for what the words leave out

    assert main(["evaluate", run_id, "--split", "all"]) == 0
    out = capsys.readouterr().out
    assert "30 queries" in out and "chance" in out and "oracle" in out

    assert main(["search", run_id, str(archive / "images" / "img03.png"), "--k", "30"]) == 0
    found = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(found) == 30 and ["1.000", "img03"] in found
    assert found == sorted(found, key=lambda row: float(row[0]), reverse=True)


def test_the_profile_sets_the_defaults(capsys, archive):
    with pytest.raises(SystemExit):
        main(["train", "--profile", "quick", "--help"])
    out = capsys.readouterr().out
    assert "(default: 25)" in out and "(default: 64)" in out


def test_a_dry_run_lists_and_computes_nothing(archive, capsys):
    assert main(["sweep", "alpha_beta", "--archive", str(archive), "--dry-run"]) == 0
    *out, last = capsys.readouterr().out.splitlines()
    assert len(out) >= 9 and all(line.startswith("to run") for line in out)
    assert last.startswith(f"{len(out)} of {len(out)} runs")
    assert collect().empty


def test_one_command_sweeps_all_experiments_on_several_archives(archive, capsys):
    words = ["--archive", str(archive), "synthetic", "--seeds", "0", "1", "--dry-run"]
    expected = {
        config.run_id
        for name in (str(archive), "synthetic")
        for experiment in EXPERIMENTS.values()
        for config in experiment("smoke", name, (0, 1))
    }
    assert main(["sweep", "all", *words]) == 0
    *out, last = capsys.readouterr().out.splitlines()
    assert {line.split()[2] for line in out} == expected and len(out) == len(expected)
    assert last.startswith(f"{len(expected)} of {len(expected)} runs")
    assert main(["sweep", "alpha_sign", "learning_rate", *words]) == 0
    some = {line.split()[2] for line in capsys.readouterr().out.splitlines()[:-1]}
    assert len(some) < len(expected) and some < expected


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert end.value.code == 0 and "Example: python -m maclcore" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "dlrds"], "did you mean 'dlrsd'"),
        (["data", "dlrsd"], "MACL_DATA or --data"),
        (["evaluate", "some-run"], "no run 'some-run'"),
        (["sweep", "main_table"], "did you mean 'main_tables'"),
        (["train", "--loss", "mcal", "--quiet"], "did you mean 'macl'"),
        (["notebooks", "--only", "77"], "no notebook 77"),
    ],
)
def test_errors_are_one_line_with_the_remedy_and_exit_1(archive, words, message, capsys):
    assert main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and "Traceback" not in err
