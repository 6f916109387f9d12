"""Notebooks run in parallel: order, parameters, failures, interrupts."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from maclcore import notebooks, paths
from maclcore.__main__ import main

STAMP = "import pathlib, time; pathlib.Path('{0}').write_text(str(time.time()))"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path / "figures"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "figures" / "private").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def write(folder, name, *cells):
    book = new_notebook(cells=[new_code_cell("profile = 'smoke'"), *map(new_code_cell, cells)])
    book.cells[0].metadata["tags"] = ["parameters"]
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
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
    write(folder, "05_c", "print(open('store').read())")
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
    write(folder, "05_needs", "1 + 1")
    run = notebooks.run
    monkeypatch.setattr(notebooks, "run", lambda *a, **k: run(*a, **k, folder=folder))
    assert main(["notebooks", "--jobs", "2"]) == 1
    out, err = capsys.readouterr()
    assert "error: not done, see above or log.txt: 03_dies.ipynb, 04_fails.ipynb, 05_n" in err
    assert "    In [4]:\n        x = 0\n        1 / x\n    ZeroDivisionError: division by" in out
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
    with pytest.raises(ValueError, match=f"no notebook in {tmp_path}"):
        notebooks.run({}, folder=tmp_path)


def test_a_part_of_the_notebooks_needs_no_other(folder):
    write(folder, "04_fails", "1 / 0")
    write(folder, "05_b", STAMP.format("ran"))
    table = notebooks.run({}, ["05"], folder=folder)
    assert table.index.tolist() == ["05_b.ipynb"] and (folder / "ran").exists()


def test_an_interrupt_leaves_no_kernel_and_starts_no_other(folder, tmp_path):
    note = "import os, time, pathlib; pathlib.Path('{0}').write_text(str(os.getpid()))"
    for name in ("01_a", "02_b", "03_c"):
        write(folder, name, note.format(name) + "; time.sleep(300)")
    # a background job of a shell is born deaf to SIGINT, and the tests may be run in one
    code = "import pathlib, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "import maclcore.notebooks as n; n.run({}, jobs=2, folder=pathlib.Path(sys.argv[1]))"
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


def test_the_table_of_needs_names_notebooks():
    numbers = {file.name[:2] for file in (paths.ROOT / "notebooks").glob("*.ipynb")}
    assert set(notebooks.NEEDS) | set(notebooks.NEEDS.values()) <= numbers
