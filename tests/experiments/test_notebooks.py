"""Notebooks run in parallel: order, parameters, failures, interrupts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from maclcore import paths, plots
from maclcore.__main__ import main
from maclcore.data import Archive, ArchiveWarning
from maclcore.experiments import notebooks, paper

STAMP = "import pathlib, time; pathlib.Path('{0}').write_text(str(time.time()))"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path / "figures"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "figures" / "private").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def write(folder, name, *cells, kernel="python3", needs=()):
    parameters = "profile = 'smoke'\narchive = 'synthetic'\nweights = None"
    book = new_notebook(cells=[new_code_cell(parameters), *map(new_code_cell, cells)])
    book.cells[0].metadata["tags"] = ["parameters", *(f"needs-{number}" for number in needs)]
    book.metadata["kernelspec"] = {"name": kernel, "display_name": "", "language": "python"}
    nbformat.write(book, folder / f"{name}.ipynb")


def printed(tmp_path, name):
    book = nbformat.read(tmp_path / "results" / "executed" / f"{name}.ipynb", as_version=4)
    return [o["text"].strip() for c in book.cells for o in c.get("outputs", []) if "text" in o]


def test_what_reads_the_store_waits_and_the_rest_does_not(folder, tmp_path, capfd):
    barrier = "import pathlib, time\npathlib.Path('{0}').touch()\nwhile not pathlib.Path('{1}')"
    barrier += ".exists(): time.sleep(0.05)"  # ends only if both notebooks run at once
    threads = "import os; print(profile, os.environ['OMP_NUM_THREADS'])"
    transport = "import json, ipykernel\nprint(json.loads(ipykernel.get_connection_info())"
    write(folder, "01_a", barrier.format("a", "b"), threads, transport + "['transport'])")
    figure = "pathlib.Path('../figures/04-x.png').touch()"
    trains = "pathlib.Path('store').write_text('full')"
    write(folder, "04_b", barrier.format("b", "a"), threads, "time.sleep(1)", trains, figure)
    write(folder, "05_c", "print(open('store').read())", needs=["04"])
    (tmp_path / "figures" / "04-old.png").touch()
    os.utime(tmp_path / "figures" / "04-old.png", (0, 0))
    table = notebooks.run({"profile": "quick", "weights": None}, jobs=2, folder=folder)
    assert table.index.tolist() == ["01_a.ipynb", "04_b.ipynb", "05_c.ipynb"]
    assert (table["error"] == "").all() and table["figures"].tolist() == [0, 1, 0]
    cores = len(os.sched_getaffinity(0))
    assert printed(tmp_path, "01_a") == [f"quick {max(1, cores // 2)}", "ipc"]
    assert printed(tmp_path, "04_b") == [f"quick {cores}"]
    assert printed(tmp_path, "05_c") == ["full"]
    out, err = capfd.readouterr()
    assert err == "" and "TCP" not in out  # ipykernel warns of TCP
    assert (tmp_path / "results" / "executed" / "log.txt").read_text() == out


def test_a_failure_skips_what_needs_it_and_nothing_else(folder, tmp_path, monkeypatch, capsys):
    write(folder, "02_fine", "1 + 1")
    write(folder, "03_dies", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    write(folder, "04_fails", "print('so far')", "x = 0\n1 / x")
    write(folder, "05_needs", "1 + 1", needs=["04"])
    run = notebooks.run
    monkeypatch.setattr(notebooks, "run", lambda *a, **k: run(*a, **k, folder=folder))
    assert main(["notebooks", "--jobs", "2"]) == 1
    out, err = capsys.readouterr()
    assert "error: not done, see above or log.txt: 03_dies.ipynb, 04_fails.ipynb, 05_n" in err
    assert "    In [3]:\n        x = 0\n        1 / x\n    ZeroDivisionError: division by" in out
    assert "DeadKernelError" in out and "not run: it needs 04_fails.ipynb" in out
    assert "4 notebooks, 0 figures, 3 failed" in out
    assert "so far" in printed(tmp_path, "04_fails")
    executed = {file.stem for file in (tmp_path / "results" / "executed").glob("*.ipynb")}
    assert executed == {"02_fine", "03_dies", "04_fails"}


@pytest.mark.parametrize(
    ("only", "jobs", "message"),
    [(["05", "77"], None, "no notebook 77 in"), (["01"], 0, "jobs must be at least 1, got 0")],
)
def test_bad_requests_run_nothing(folder, tmp_path, only, jobs, message):
    write(folder, "01_a", STAMP.format("ran"))
    write(folder, "05_b", STAMP.format("ran"))
    with pytest.raises(ValueError, match=message):
        notebooks.run({}, only, jobs=jobs, folder=folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("place", [".", "notebooks"])
def test_without_the_repository_there_are_no_notebooks_and_one_line_says_so(tmp_path, place):
    message = "they are a part of the repository and not of an installed package; clone it"
    with pytest.raises(FileNotFoundError, match=message) as error:
        notebooks.run({}, ["02"], folder=tmp_path / place)
    assert "\n" not in str(error.value)


@pytest.fixture
def executed(folder, monkeypatch):
    """The arguments that `execute` is called with, in its place."""
    calls = []
    done = notebooks.Outcome(0, 0, "")
    monkeypatch.setattr(notebooks, "execute", lambda *given: calls.append(given) or done)
    write(folder, "01_a")
    return calls


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ({"archive": "./mine"}, {"archive": "{here}/mine"}),
        ({"archive": "mine"}, {"archive": "{here}/mine"}),
        ({"archive": "mine/2026"}, {"archive": "{here}/mine/2026"}),
        ({"archive": "."}, {"archive": "{here}"}),
        ({"archive": "{here}/mine"}, {"archive": "{here}/mine"}),
        ({"archive": "both"}, {"archive": "both"}),  # the data folder has one, too
        ({"archive": "./both"}, {"archive": "{here}/both"}),
        ({"archive": "dlrsd"}, {"archive": "dlrsd"}),
        ({"archive": "nowhere"}, {"archive": "nowhere"}),  # for the kernel to complain of
        ({"weights": "mine.safetensors"}, {"weights": "{here}/mine.safetensors"}),
        ({"weights": "none"}, {"weights": "none"}),
        ({"weights": None}, {"weights": None}),
        ({"profile": "mine"}, {"profile": "mine"}),
    ],
)
def test_paths_are_the_callers_and_names_stay(
    executed, folder, tmp_path, monkeypatch, given, handed_on
):
    for place in ("here/mine/2026", "here/both", "here/dlrsd", "here/none", "data/both"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "here" / "mine.safetensors").touch()
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "here")
    given, handed_on = (
        {key: value and value.format(here=tmp_path / "here") for key, value in values.items()}
        for values in (given, handed_on)
    )
    notebooks.run(given, folder=folder)
    ((_, _, parameters, _),) = executed
    assert parameters == handed_on


def test_kernels_see_the_folders_that_the_caller_means(folder, tmp_path, monkeypatch):
    names = "('MACL_DATA', 'MACL_RESULTS', 'MACL_FIGURES')"
    write(folder, "01_a", f"import os\nprint(archive, *(os.environ[name] for name in {names}))")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("DATA", "RESULTS", "FIGURES"):
        monkeypatch.setenv(f"MACL_{name}", name.lower())
    table = notebooks.run({"archive": "mine"}, folder=folder)
    assert table["error"].tolist() == [""]
    (line,) = printed(tmp_path, "01_a")
    assert line.split() == [f"{tmp_path}/{name}" for name in ("mine", "data", "results", "figures")]


def test_where_the_cores_one_may_use_are_not_told_all_are_counted(executed, folder, monkeypatch):
    write(folder, "04_b")
    write(folder, "05_c", needs=["04"])
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS, Windows
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    notebooks.run({}, folder=folder)
    assert {file.name: threads for file, _, _, threads in executed} == {
        "01_a.ipynb": 1,
        "04_b.ipynb": 7,
        "05_c.ipynb": 1,
    }


@pytest.mark.parametrize("named", ["python3", "another-environment"])
def test_the_kernel_is_this_interpreter_whatever_is_installed(folder, tmp_path, monkeypatch, named):
    spec = tmp_path / "jupyter" / "kernels" / named / "kernel.json"
    spec.parent.mkdir(parents=True)
    broken = {"argv": ["false", "{connection_file}"], "display_name": "", "language": "python"}
    spec.write_text(json.dumps(broken))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write(folder, "01_a", "import sys; print(sys.executable)", kernel=named)
    assert notebooks.run({}, folder=folder)["error"].tolist() == [""]
    assert printed(tmp_path, "01_a") == [sys.executable]


def test_a_temporary_folder_too_deep_for_sockets_is_no_obstacle(folder, tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    write(folder, "01_a", "print('done')")
    assert notebooks.run({}, folder=folder)["error"].tolist() == [""]
    assert printed(tmp_path, "01_a") == ["done"]


def test_a_new_notebook_is_found_by_its_number(folder, tmp_path):
    write(folder, "10_new", STAMP.format("ran"))
    assert notebooks.run({}, folder=folder).index.tolist() == ["10_new.ipynb"]
    assert (folder / "ran").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_runs_every_notebook_once(tmp_path):
    shutil.copy(paths.ROOT / "Makefile", tmp_path)
    (tmp_path / "notebooks").mkdir()
    names = [f"notebooks/{number:02}_topic.ipynb" for number in range(12)]
    for name in ("pyproject.toml", "constraints.txt", *names):
        (tmp_path / name).touch()
    recipe = subprocess.check_output(["make", "-n", "test"], cwd=tmp_path, text=True)
    (compared,) = re.findall(r" --nbval (.*?) >", recipe)
    (run,) = re.findall(r" -m maclcore notebooks --only ([\d ]+)", recipe)
    assert compared.split() == [names[n] for n in (0, 2, 3, 5, 6, 7, 9)]
    assert run.split() == ["01", "04", "08", "10", "11"]


def test_a_part_of_the_notebooks_needs_no_other(folder):
    write(folder, "04_fails", "1 / 0")
    write(folder, "05_b", STAMP.format("ran"), needs=["04"])
    table = notebooks.run({}, ["05"], folder=folder)
    assert table.index.tolist() == ["05_b.ipynb"] and (folder / "ran").exists()


def test_an_interrupt_leaves_no_kernel_and_starts_no_other(folder, tmp_path):
    note = "import os, time, pathlib; pathlib.Path('{0}').write_text(str(os.getpid()))"
    for name in ("01_a", "02_b", "03_c"):
        write(folder, name, note.format(name) + "; time.sleep(300)")
    # a background job of a shell is born deaf to SIGINT, and the tests may be run in one
    code = "import pathlib, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from maclcore.experiments.notebooks import run\n"
    code += "run({}, jobs=2, folder=pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, folder]
    started = [folder / "01_a", folder / "02_b"]
    with subprocess.Popen(command, cwd=paths.ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not all(file.exists() and file.read_text() for file in started):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) != 0 and "KeyboardInterrupt" in process.stderr.read()
        finally:
            process.kill()
    for file in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
    assert not (folder / "03_c").exists()


def test_what_needs_and_is_needed_comes_in_between(executed, folder):
    write(folder, "12_last", needs=["04", "10"])
    write(folder, "10_second", needs=["04"])
    write(folder, "04_first")
    (folder / "11_broken.ipynb").write_text("{")
    notebooks.run({}, jobs=1, folder=folder)
    order = [file.name[:2] for file, *_ in executed]
    assert order == ["04", "10", "01", "11", "12"]


def test_notebooks_that_need_one_another_are_refused(executed, folder):
    write(folder, "04_a", needs=["10"])
    write(folder, "10_b", needs=["04"])
    with pytest.raises(ValueError, match="notebooks need one another: (04 10 04|10 04 10)"):
        notebooks.run({}, folder=folder)
    assert not executed


def test_what_a_notebook_needs_is_a_notebook(executed):
    notebooks.run({})
    files = {file.name[:2]: file for file, *_ in executed}
    needs = {number: set(notebooks._needs(file)) for number, file in files.items()}
    assert set().union(*needs.values()) <= set(files)


def test_a_run_leaves_the_figures_of_record_alone(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("MACL_FIGURES")
    record = paths.ROOT / "figures"
    before = {file: file.stat().st_mtime_ns for file in [record, *record.rglob("*")]}
    draw = "from maclcore import plots\nfig = plots.set_sizes({'x': [1, 2, 2]})\n"
    write(
        folder, "01_a", draw + "plots.save(fig, '01-sizes')\nplots.save(fig, '01-own', shows='x')"
    )
    table = notebooks.run({}, folder=folder)
    assert table["error"].tolist() == [""] and table["figures"].tolist() == [2]
    assert (tmp_path / "results" / "figures" / "01-sizes.png").exists()
    assert (tmp_path / "results" / "figures" / "private" / "01-own.png").exists()
    after = {file: file.stat().st_mtime_ns for file in [record, *record.rglob("*")]}
    assert before == after


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("target", ["reproduce", "figures", "test"])
def test_only_make_figures_renews_the_figures_of_record(target):
    recipe = subprocess.check_output(["make", "-n", target], cwd=paths.ROOT, text=True)
    lines = [line for line in recipe.splitlines() if re.search(r"ipynb|maclcore notebooks", line)]
    setting = f'MACL_FIGURES="{paths.ROOT}/figures" '
    assert lines and all((setting in line) == (target == "figures") for line in lines)


def run_here(number, **values):
    """The cells of a notebook in this process, which draw nothing, with values for parameters."""
    (path,) = (paths.ROOT / "notebooks").glob(f"{number}_*.ipynb")
    space = {"__name__": "notebook"}
    formats = "matplotlib_inline.backend_inline.set_matplotlib_formats"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ArchiveWarning)  # of labels without a training image
        warnings.simplefilter("ignore", RuntimeWarning)  # of a mean over no query
        patch.setattr(formats, lambda *given, **options: None)
        for name in ("save", "show"):
            patch.setattr(plots, name, lambda fig, *given, **options: plt.close(fig))
        try:
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "code":
                    exec(compile(cell.source, f"{number}, cell {cell.id}", "exec"), space)
                if "parameters" in cell.metadata.get("tags", []):
                    space |= {name: value for name, value in values.items() if name in space}
        finally:
            torch.set_default_dtype(torch.float32)
            plt.close("all")


@st.composite
def label_tables(draw):
    """Labels (N, L) of images that have one at least; a label may be on no image, or on all."""
    shape = draw(st.integers(15, 40)), draw(st.integers(1, 7))
    y = draw(arrays(bool, shape))
    y[~y.any(axis=1), draw(st.integers(0, shape[1] - 1))] = True
    return y


ONE_EACH = np.eye(5, dtype=bool)[np.arange(40) % 5]  # one label an image, all equally frequent
ALL_ALIKE = np.ones((20, 1), dtype=bool)
ONE_ALONE = np.eye(2, dtype=bool)[[0] + [1] * 14]  # of the first image nothing relevant is found


@pytest.mark.parametrize("number", ["01", "02", "03"])
@settings(max_examples=8, deadline=None)
@example(y=ONE_EACH)
@example(y=ALL_ALIKE)
@example(y=ONE_ALONE)
@given(y=label_tables())
def test_what_is_asserted_of_any_archive_holds_for_any_labels(number, y):
    images = np.random.default_rng(0).integers(0, 256, (len(y), 3, 32, 32), dtype=np.uint8)
    names = tuple(f"label {j}" for j in range(y.shape[1]))
    scenes = tuple(f"image {i}" for i in range(len(y)))
    archive = Archive("own", images, y, names, scenes, "", "own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maclcore.load_archive", lambda *given, **options: archive)
        run_here(number, archive="a/folder/of/ones/own")


PAIRS = (np.eye(5) + np.eye(5, k=1))[np.arange(24) % 4] > 0  # two labels an image


@pytest.mark.parametrize("y", [PAIRS, ONE_EACH, ALL_ALIKE], ids=["pairs", "one each", "all alike"])
def test_what_is_asserted_of_any_run_holds_for_any_archive(tiny, tmp_path, y):
    folder = tmp_path / "1, 2 & (mine)"
    (folder / "images").mkdir(parents=True)
    names = [f"image {i}" for i in range(len(y))]
    generator = np.random.default_rng(0)
    for name in names:
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    table = pd.DataFrame(y.astype(int), names, [f"label {j}" for j in range(y.shape[1])])
    table.rename_axis("image").to_csv(folder / "labels.csv")
    tiny.mkdir()
    (tiny / "packed").symlink_to(paths.ROOT / "results" / "packed")  # what pages show of record
    trained = ("main_tables", *paper.ABLATIONS)
    for number in ("04", "05", "06", "07", "08"):
        values = {"archive": str(folder), "seeds": (0,), "weights": None, "experiments": trained}
        run_here(number, profile="smoke", **values)
