"""Outside the repository: what an installed copy carries, finds, and says of its origin."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from maclcore import paths
from maclcore.audit import evidence
from maclcore.audit.evidence import Evidence
from maclcore.data.stream import Images
from maclcore.store import revision

OURS, OTHERS = '[project]\nname = "maclcore"\n', '[project]\nname = "theirs"\n'


# --- Which commit --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_git_of_the_caller(monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(folder, *words):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def copy(folder, project=OURS):
    """The package's folder, with what lies beside it."""
    (folder / "maclcore").mkdir(parents=True)
    (folder / "maclcore" / "store.py").write_text("a = 1\n")
    if project:
        (folder / "pyproject.toml").write_text(project)
    return folder / "maclcore"


def repository(folder, **files):
    """A repository with one commit of all that is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "--short=10", "HEAD")


def test_a_checkout_has_its_commit_with_a_plus_when_the_package_was_changed(tmp_path):
    package = copy(tmp_path / "clone")
    commit = repository(tmp_path / "clone")
    assert len(commit) == 10 and revision.of_checkout(package) == commit
    (tmp_path / "clone" / "notes.txt").write_text("beside the package")
    assert revision.of_checkout(package) == commit
    git(tmp_path / "clone", "worktree", "add", "--quiet", "../second")
    (package / "new.py").touch()
    assert revision.of_checkout(package) == commit + "+"
    assert revision.of_checkout(tmp_path / "second" / "maclcore") == commit
    (tmp_path / "second" / "maclcore" / "store.py").write_text("a = 2\n")
    assert revision.of_checkout(tmp_path / "second" / "maclcore") == commit + "+"


@pytest.mark.parametrize(
    ("place", "project"),
    [
        (".venv/lib/python3/site-packages", ""),  # an environment in a repository
        ("third_party/maclcore", OURS),  # a whole copy in another repository
        ("", OTHERS),  # the package's folder alone, in the top folder of another repository
        ("", ""),
        ("", "no TOML"),
    ],
)
def test_a_copy_in_another_repository_has_no_commit(tmp_path, place, project):
    package = copy(tmp_path / "theirs" / place, project)
    repository(tmp_path / "theirs")
    assert revision.of_checkout(package) == ""


def test_an_environment_in_a_checkout_has_no_commit(tmp_path):
    copy(tmp_path / "clone")
    installed = copy(tmp_path / "clone" / ".venv", project="")
    repository(tmp_path / "clone", **{".gitignore": ".venv\n"})
    assert revision.of_checkout(installed) == ""


def test_a_copy_that_was_never_committed_has_no_commit(tmp_path):
    repository(tmp_path / "theirs")
    assert revision.of_checkout(copy(tmp_path / "theirs")) == ""
    assert revision.of_checkout(copy(tmp_path / "nowhere")) == ""


@pytest.mark.parametrize("there", [True, False])
def test_the_environment_and_the_working_folder_name_no_commit(tmp_path, monkeypatch, there):
    package = copy(tmp_path / "mine")
    commit = repository(tmp_path / "mine") if there else ""
    copy(tmp_path / "other")
    repository(tmp_path / "other", README="another one")
    monkeypatch.chdir(tmp_path / "other")
    assert revision.of_checkout(package) == commit
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "mine"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    assert revision.of_checkout(package) == commit


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    package = copy(tmp_path)
    repository(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert revision.of_checkout(package) == ""


COMMIT = "0123456789abcdef0123456789abcdef01234567"
VCS = {"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        (json.dumps(VCS), COMMIT[:10]),
        (json.dumps({"url": "file:///clone", "dir_info": {}}), ""),
        (json.dumps({"url": "https://example.org/x.whl", "archive_info": {}}), ""),
        ("{", ""),
        (None, ""),
    ],
)
def test_an_installation_has_the_commit_that_pip_recorded(tmp_path, monkeypatch, origin, commit):
    package = copy(tmp_path / "site", project="")
    record = tmp_path / "site" / "maclcore-0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: maclcore\nVersion: 0\n")
    if origin is not None:
        (record / "direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert revision.of_installation(package) == commit
    assert revision.of_installation(copy(tmp_path / "vendored")) == ""  # not what is installed


# --- A wheel -------------------------------------------------------------------------------------

BUILD = "from setuptools import build_meta; print(build_meta.build_{}('built'))"


def build(source, kind):
    command = [sys.executable, "-c", BUILD.format(kind)]
    done = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    assert "Package would be ignored" not in done.stderr
    return source / "built" / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What the wheel is built from; the packed runs too, which are not to be in it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(paths.ROOT / name, folder)
    shutil.copytree(
        paths.ROOT / "maclcore", folder / "maclcore", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(
        paths.ROOT / "results", folder / "results", ignore=shutil.ignore_patterns("runs", "cache")
    )
    return folder


@pytest.fixture(scope="module")
def wheel(source):
    return zipfile.ZipFile(build(source, "wheel"))


def test_the_wheel_has_every_module_and_what_is_published(source, wheel):
    held = {name for name in wheel.namelist() if name.startswith("maclcore/")}
    modules = {str(file.relative_to(source)) for file in (source / "maclcore").rglob("*.py")}
    published = [source / "results" / "labels.csv", *(source / "results" / "paper").iterdir()]
    published = {f"maclcore/{file.relative_to(source)}" for file in published}
    pages = {f"maclcore/{room}/page.html" for room in ("annotation", "search")}
    assert held == modules | published | pages | {"maclcore/py.typed"}


def test_the_wheel_of_the_source_distribution_is_the_same(source, wheel, tmp_path):
    shutil.unpack_archive(build(source, "sdist"), tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = zipfile.ZipFile(build(unpacked, "wheel"))
    assert {i.filename: i.CRC for i in again.infolist() if "dist-info" not in i.filename} == {
        i.filename: i.CRC for i in wheel.infolist() if "dist-info" not in i.filename
    }


SCRIPT = """
import json, maclcore
from maclcore import paths
from maclcore.audit import evidence
from maclcore.store.provenance import git_revision
counts = evidence.Evidence.load().counts
found = [maclcore.__file__, git_revision(), len(counts), paths.results_root()]
print(json.dumps([str(value) for value in found]))
"""


def test_an_installed_copy_finds_the_tables_and_not_a_commit_in_a_foreign_folder(wheel, tmp_path):
    site, foreign = tmp_path / "site", tmp_path / "foreign"
    wheel.extractall(site)
    repository(foreign, **{"pyproject.toml": OURS})
    (foreign / "maclcore").mkdir()
    moved = ("MACL_DATA", "MACL_RESULTS", "MACL_FIGURES")
    environment = {key: value for key, value in os.environ.items() if key not in moved}
    command = [sys.executable, "-P", "-c", SCRIPT]
    environment |= {"PYTHONPATH": str(site), "MACL_RESULTS": ""}
    done = subprocess.run(command, cwd=foreign, env=environment, check=True, capture_output=True)
    file, commit, counts, results = json.loads(done.stdout)
    assert Path(file).is_relative_to(site) and commit == ""
    assert int(counts) == len((paths.paper_root() / "table3.csv").read_text().splitlines()) - 1
    assert results == str(foreign / "results")


# --- Folders and systems -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "root", "default"),
    [
        ("MACL_DATA", paths.data_root, "data"),
        ("MACL_RESULTS", paths.results_root, "results"),
        ("MACL_FIGURES", paths.figures_root, "results/figures"),
    ],
)
def test_an_empty_variable_is_as_good_as_none(variable, root, default, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MACL_RESULTS", raising=False)
    monkeypatch.setenv(variable, "")
    assert root() == paths.ROOT / default
    monkeypatch.delenv(variable)
    assert root() == paths.ROOT / default
    monkeypatch.setenv(variable, "here")
    assert root() == tmp_path / "here"


def test_labels_measured_anew_are_the_stores_and_come_before_the_published(tmp_path, monkeypatch):
    published = paths.paper_root().parent / "labels.csv"
    before = published.read_bytes()
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    labels = Evidence.load().labels
    monkeypatch.setattr(evidence, "label_statistics", lambda: labels + 1)
    evidence.measure()
    pd.testing.assert_frame_equal(Evidence.load().labels, labels + 1, rtol=1e-5)
    assert published.read_bytes() == before


def test_a_file_is_written_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    def refuse(path, flags, real=os.open, **options):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, **options)

    monkeypatch.setattr(os, "open", refuse)  # as on Windows
    with paths.atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "new")]


def test_images_are_the_same_where_files_are_not_read_by_position(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    monkeypatch.delattr(os, "preadv", raising=False)  # as on Windows
    images, batches = Images(mapped), torch.tensor([8, 0, 3, 3, 1, 7]).split(2)
    assert images.file is None
    for batch in images.ahead(batches):
        assert np.array_equal(images[batch].numpy(), pixels[batch])
