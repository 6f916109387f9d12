"""pyproject.toml, constraints.txt, environment.yml and the running interpreter agree."""

import re
import subprocess
import tomllib
from importlib.metadata import packages_distributions, version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from maclcore import extras, paths
from maclcore.version import __version__

PYPROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
EXTRAS = {
    extra: [Requirement(line) for line in lines]
    for extra, lines in PROJECT["optional-dependencies"].items()
}
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
DIRECT = [
    requirement
    for requirement in sum(EXTRAS.values(), CORE)
    if requirement.name != PROJECT["name"]  # an extra that holds another
]
PINS = [
    Requirement(line)
    for line in (paths.ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
# Constraints that are not for this interpreter or platform do not count.
PINNED = {
    canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
    for pin in PINS
    if pin.marker is None or pin.marker.evaluate()
}


def test_constraints_are_exact_versions_once_each():
    assert len(PINS) > 100
    assert all(re.fullmatch(r"==[0-9][^*,]*", str(pin.specifier)) for pin in PINS)
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_dependency_has_a_bound_a_pin_within_it_and_is_installed_at_the_pin(requirement):
    assert requirement.specifier, "has no lower bound"
    pin = PINNED[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin)
    # torch adds its build to the version, as in 2.0.1+cu118
    assert version(requirement.name).split("+")[0] == pin, "run `make env`"


def test_conda_takes_python_from_conda_and_the_rest_from_the_same_two_files():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[all,dev]"]}
    assert "-e '.[all,dev]'" in (paths.ROOT / "Makefile").read_text()


def test_the_core_is_what_losses_and_metrics_need():
    assert {requirement.name for requirement in CORE} == {"torch", "numpy", "pandas", "scipy"}


def test_all_is_every_extra_but_that_of_development():
    (everything,) = EXTRAS["all"]
    assert everything.name == PROJECT["name"]
    assert everything.extras == EXTRAS.keys() - {"all", "dev"}


def test_the_error_of_a_missing_extra_knows_what_each_brings():
    brought = packages_distributions()
    for extra, modules in extras.EXTRAS.items():
        packages = {canonicalize_name(brought[module][0]) for module in modules}
        declared = {r.name for r in EXTRAS[extra]} - {PROJECT["name"]}
        assert packages == declared, extra
    assert extras.EXTRAS.keys() == EXTRAS.keys() - {"all", "dev"}


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "environment.yml"])
def test_no_index_host_is_named(name):
    text = (paths.ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text)


def test_the_citation_names_this_version():
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == __version__
    assert citation["license"] == PROJECT["license"]


def test_every_package_is_in_the_wheel():
    folders = [file.parent for file in (paths.ROOT / "maclcore").rglob("__init__.py")]
    packages = {".".join(folder.relative_to(paths.ROOT).parts) for folder in folders}
    assert set(SETUPTOOLS["packages"]) == packages | set(SETUPTOOLS["package-dir"])


@pytest.mark.skipif(not (paths.ROOT / ".git").exists(), reason="not a clone")
@pytest.mark.parametrize(
    ("file", "ignored"),
    [
        ("results/runs/quick-mine-64px-macl-s0-01234567/result.json", True),
        ("results/runs/quick-mine-64px-macl-s0-01234567/weights.safetensors", True),
        ("results/cache/mine-0123.npy", True),
        ("data/mine/images/a.png", True),
        ("figures/private/08-gallery-mine.png", True),
        ("results/figures/05-metrics-mine.png", True),
        ("results/figures/private/08-gallery-mine.png", True),
        ("figures/05-metrics-synthetic.png", False),
        ("build/lib/maclcore/store.py", True),
        ("dist/maclcore-0.1.0.tar.gz", True),
        ("results/packed/.mine.parquet.17-01234567.tmp", True),
        ("results/packed/mine.parquet", False),
        ("results/paper/table1.csv", False),
        ("maclcore/data/build.py", False),
    ],
)
def test_what_work_of_ones_own_leaves_in_a_clone_is_ignored(file, ignored):
    # by the rules alone: --no-index leaves out of account what is tracked
    command = ["git", "-C", paths.ROOT, "check-ignore", "--quiet", "--no-index", file]
    assert subprocess.run(command).returncode == (0 if ignored else 1)


def test_binder_has_what_the_notebooks_need_and_no_more():
    environment = yaml.safe_load((paths.ROOT / ".binder" / "environment.yml").read_text())
    python, pip, *names = environment["dependencies"]
    version = python.removeprefix("python=")
    assert pip == "pip" and version in Requirement(f"x{PROJECT['requires-python']}").specifier
    needed = sum((EXTRAS[extra] for extra in ("train", "plots", "notebooks")), CORE)
    needed = {str(one) for one in needed if one.name != PROJECT["name"]}
    here = {n.replace("pytorch-cpu", "torch").replace("jupyter_", "jupyter-") for n in names}
    assert here == needed  # two have other names there
    assert len(names) == len(needed)
    assert (paths.ROOT / ".binder" / "postBuild").stat().st_mode & 0o111


def test_the_container_ends_in_the_commands_of_the_readme():
    lines = (paths.ROOT / "Containerfile").read_text().splitlines()
    (base,) = [line.removeprefix("FROM ") for line in lines if line.startswith("FROM ")]
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", base)[1]
    assert version in Requirement(f"x{PROJECT['requires-python']}").specifier
    readme = (paths.ROOT / "README.md").read_text()
    block = readme.split("```bash\n")[1].split("```")[0]
    commands = [line.split("#")[0].strip() for line in block.splitlines()]
    assert lines[-1] == f'CMD ["sh", "-c", "{" && ".join(commands)}"]'
    makefile = (paths.ROOT / "Makefile").read_text()
    assert all(f"\n{command.removeprefix('make ')}: env" in makefile for command in commands)
