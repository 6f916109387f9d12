"""The command line, called in-process on a small archive of the user's own."""

import shutil
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from maclcore.__main__ import main
from maclcore.commands import VERBS
from maclcore.experiments.paper import EXPERIMENTS
from maclcore.paths import runs_root
from maclcore.search.embedder import Embedder
from maclcore.store import collect, runs
from maclcore.training.loop import Loop


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

    words = ["search", run_id, str(archive / "images" / "img03.png"), "--k", "30"]
    assert main(words) == 0
    out = capsys.readouterr().out
    found = [line.split()[:2] for line in out.splitlines()[1:]]
    assert len(found) == 30 and ["1.000", "img03"] in found
    assert found == sorted(found, key=lambda row: float(row[0]), reverse=True)
    with pytest.MonkeyPatch.context() as patch:  # the archive is not embedded anew, the file is
        counted = []
        embed = Embedder.__call__
        patch.setattr(Embedder, "__call__", lambda *a: counted.append(len(a[1])) or embed(*a))
        assert main(words) == 0
    assert capsys.readouterr().out == out and counted and set(counted) == {1}
    (archive / "images" / "img03.png").unlink()
    assert main(words) == 1
    assert "error: " in capsys.readouterr().err


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
    other = shutil.copytree(archive, archive.with_name("yours"))
    words = ["--archive", str(archive), str(other), "--seeds", "0", "1", "--dry-run"]
    expected = {
        config.run_id
        for name in (str(archive), str(other))
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
        (["runs", "recompute", "some-run"], "no run 'some-run'"),
        (["search", "some-run", "a.jpg", "--k", "0"], "k is 0: a search has at least 1 result"),
        (["search", "some-run", "a.jpg", "--k", "-1"], "k is -1: a search has at least 1 result"),
    ],
)
def test_errors_are_one_line_with_the_remedy_and_exit_1(archive, words, message, capsys):
    assert main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and "Traceback" not in err


FAILS = {
    "archive": (["--archive", "dlrds"], "did you mean 'dlrsd'"),
    "loss": (["--loss", "mulsupconn"], "did you mean 'mulsupcon'"),
    "weights": (["--weights", "nofile"], "no weights 'nofile'"),
    "parameter": (["--loss-params", "alfa", "1"], "no parameter 'alfa'; did you mean 'alpha'"),
    "value": (["--loss-params", "temperature", "-1"], "temperature must be positive, got -1.0"),
    "backbone": (["--backbone", "resnet19"], "unknown backbone 'resnet19'; did you mean"),
    "seed": (["--seed", "-1"], "seed must not be negative, got -1"),
    "split": (["--split-seed", "-1"], "split_seed must not be negative, got -1"),
    "queue": (["--loss", "oml", "--queue", "8"], "oml has no queue in its original form"),
    # torch's own words would be: "Kernel size can't be greater than actual input size"
    "image size": (["--backbone", "inception_v3"], "inception_v3 takes no images of 32 px ("),
}


@pytest.mark.filterwarnings("ignore:.*initialization of (GoogleNet|Inception):FutureWarning")
@pytest.mark.parametrize(("words", "message"), FAILS.values(), ids=FAILS)
def test_a_failed_start_is_one_line_and_leaves_nothing_in_the_store(
    archive, words, message, capsys
):
    start = ["train", "--archive", str(archive), "--batch-size", "8", "--quiet"]
    assert main([*start, *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not list(runs_root().glob("*")) and runs().empty


def test_too_few_images_are_told_with_how_many_are_enough(archive, capsys):
    def train_on(number):
        for file in sorted((archive / "images").iterdir())[number:]:
            file.unlink()
        lines = (archive / "labels.csv").read_text().splitlines()
        (archive / "labels.csv").write_text("\n".join(lines[: number + 1]))
        return main(["train", "--archive", str(archive), "--loss", "chance", "--quiet"])

    assert train_on(15) == 0
    capsys.readouterr()
    assert train_on(14) == 1
    assert "mine has 14 images" in (err := capsys.readouterr().err) and "15 images are" in err


def test_an_interrupt_is_one_line(archive, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "step", interrupted)
    words = ["train", "--archive", str(archive), "--backbone", "shufflenet_v2_x0_5", "--quiet"]
    assert main(words) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on from what is saved\n"
    assert runs().empty


def test_an_error_of_torch_is_one_line_and_how_to_see_more(archive, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("out of some memory")

    monkeypatch.setattr(Loop, "step", broken)
    words = ["train", "--archive", str(archive), "--backbone", "shufflenet_v2_x0_5", "--quiet"]
    assert main(words) == 1
    error, more = capsys.readouterr().err.splitlines()
    assert error == "error: out of some memory" and "MACL_TRACEBACK=1" in more
    monkeypatch.setenv("MACL_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(words)


@pytest.mark.parametrize("error", [URLError("no route"), ConnectionResetError(), TimeoutError()])
def test_offline_the_imagenet_weights_are_an_error_with_the_ways_out(
    archive, monkeypatch, capsys, error
):
    def offline(*_, **words):
        raise error

    monkeypatch.setattr("maclcore.models.from_torchvision.get_model", offline)
    words = ["train", "--archive", str(archive), "--weights", "imagenet", "--quiet"]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "the ImageNet weights of resnet18 cannot be downloaded" in err
    assert "weights=FILE" in err and "weights=none" in err and runs().empty


def test_one_bad_image_among_many_is_named_and_stops_no_other(archive, capsys):
    words = ["--archive", str(archive), "--epochs", "1", "--batch-size", "8", "--quiet"]
    assert main(["train", *words, "--backbone", "shufflenet_v2_x0_5"]) == 0
    run_id = capsys.readouterr().out.split()[-1]
    good = [str(archive / "images" / f"img{i:02}.png") for i in (3, 4)]
    bad = {"empty.jpg": b"", "text.png": b"no image", "gone.png": None}
    for name, content in bad.items():
        if content is not None:
            (archive / name).write_bytes(content)
    files = [good[0], *(str(archive / name) for name in bad), good[1]]
    assert main(["search", run_id, *files, "--k", "2", "--each"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [lines[0], lines[3]] == good and len(lines) == 6
    assert all(name in err for name in bad) and err.count("\n") == 1


def test_what_a_classifier_scores_is_printed(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    words = "--profile smoke --labels random --loss an --frozen-views 1 --epochs 1 --quiet".split()
    assert main(["train", "--archive", str(archive), *words]) == 0
    (stored,) = collect().to_dict("records")
    out = capsys.readouterr().out
    assert f"{100 * stored['test: macro mAP']:.2f}" in out and "macro mAP" in out
    words = ["sweep", "weak_network", "--profile", "smoke", "--archive", str(archive)]
    assert main(words) == 0
    assert "test: macro mAP" in capsys.readouterr().out
