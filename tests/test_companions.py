"""What is made of other files agrees with them, and can be read by those for whom it is made."""

import json
import re
import sys

import pytest
import yaml

from maclcore import paths
from maclcore.store import packed

LOG = (paths.ROOT / "LOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def companions():
    """docs/companions.py as a module."""
    sys.path.insert(0, str(paths.ROOT / "docs"))
    try:
        import companions

        return companions
    finally:
        sys.path.remove(str(paths.ROOT / "docs"))


def test_every_file_is_what_its_sources_make_it(companions):
    old = [f.name for f, text in companions.files().items() if f.read_text("utf-8") != text]
    assert old == [], "run `python docs/companions.py`"


def test_citation_and_project_agree(companions):
    citation, project = companions.sources()
    for name in ("version", "license"):
        assert citation[name] == project[name]
    assert [one["name"] for one in citation["authors"]] == [x["name"] for x in project["authors"]]
    assert citation["title"].startswith(project["name"])


def test_people_and_groups_are_told_apart(companions):
    person = {"given-names": "Ada", "family-names": "Lovelace"}
    assert companions._agent(person)["@type"] == "Person"
    assert companions._name(person) == "Lovelace, Ada"
    assert companions._agent({"name": "a group"}) == {"@type": "Organization", "name": "a group"}


def test_codemeta_and_zenodo_say_what_they_must():
    meta = json.loads((paths.ROOT / "codemeta.json").read_text())
    assert meta["@context"].startswith("https://w3id.org/codemeta/") and meta["author"]
    deposit = json.loads((paths.ROOT / ".zenodo.json").read_text())
    assert {"title", "upload_type", "description", "creators", "license"} <= deposit.keys()
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert deposit["related_identifiers"][0]["identifier"] == citation["references"][0]["url"]


# --- The log -------------------------------------------------------------------------------------


def section(name):
    (found,) = re.findall(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", LOG, re.M | re.S)
    return found


def test_the_log_has_every_pack_and_every_run_of_it():
    packs = packed.packs(paths.ROOT / "results")
    assert len(packs) > 20
    for pack in packs:
        rows = re.findall(r"^\| .* \| (\d+) \|", section(pack.file.stem), re.M)
        assert sum(map(int, rows)) == len(pack.groups)


def test_numbers_of_the_log_in_words_stand_in_the_table_that_they_name():
    words = LOG.split("## How to read")[0]
    told = re.findall(r"\(`(\w+-\w+-\w+)`((?:[^()]|\([^()]*\))*)\)", words)
    assert len(told) >= 8
    for name, text in told:
        for number in re.findall(r"(?<![\d.@−])\d+\.\d(?!\d)", re.sub("α = −?[0-9.]+", "", text)):
            assert f"| {number} ± " in section(name), f"{name}: {number}"
