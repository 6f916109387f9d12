"""pyproject.toml, constraints.txt, environment.yml and the running interpreter agree."""

import re
import tomllib
from importlib.metadata import version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from maclcore import paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(line)
    for line in PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
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
    extras = ",".join(PROJECT["optional-dependencies"])
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{extras}]"]}


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "environment.yml"])
def test_no_index_host_is_named(name):
    text = (paths.ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text)


def test_the_citation_names_this_version():
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
