"""The data sheet for machines, as the reference reader of the format takes it."""

import json
from dataclasses import replace

import mlcroissant
import numpy as np
import pytest

from maclcore import load_archive
from maclcore.__main__ import main
from maclcore.data import croissant
from maclcore.data.readers import READERS

# of rdflib, by which mlcroissant reads
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def drawn():
    return load_archive("synthetic", image_size=32, progress=False)


def read(file, caplog):
    """The metadata and the records; nothing may be wrong with either."""
    dataset = mlcroissant.Dataset(jsonld=file)
    assert not dataset.metadata.ctx.issues.errors and "not standard" not in caplog.text
    return dataset.metadata, list(dataset.records("images"))


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def agrees(records, archive):
    assert [text(row["images/image"]) for row in records] == list(archive.names)
    keys = [key for key in records[0] if key.startswith("images/label_")]
    labels = [[row[key] for key in keys] for row in records]
    assert np.array_equal(np.array(labels, dtype=bool), archive.labels)
    for part, rows in archive.split(0)._asdict().items():
        assert {text(records[i]["images/split"]) for i in rows} == {part}


def test_of_the_synthetic_archive(drawn, tmp_path, caplog):
    metadata, records = read(croissant.write(drawn, tmp_path), caplog)
    assert metadata.name == "synthetic" and metadata.license and "2,100" in metadata.description
    agrees(records, drawn)


def test_of_a_folder_of_ones_own_by_the_command(archive, tmp_path, caplog, capsys):
    words = ["data", str(archive), "--image-size", "32", "--write-croissant", str(tmp_path / "c")]
    assert main(words) == 0
    assert "croissant.json" in capsys.readouterr().out
    _, records = read(tmp_path / "c" / croissant.SHEET, caplog)
    agrees(records, load_archive(str(archive), image_size=32, progress=False))


@pytest.mark.parametrize("name", READERS)
def test_a_known_archive_has_its_licence_and_whom_to_cite(drawn, name):
    told = croissant._told(replace(drawn, name=name), READERS[name])
    assert told["license"] == READERS[name].licence and told["citeAs"] == READERS[name].cite
    assert told["url"].startswith("http") and " " not in told["url"]
    assert told["datePublished"] in READERS[name].cite


def test_labels_called_as_the_other_columns_and_an_archive_without_labels(drawn, tmp_path):
    odd = replace(drawn, label_names=("image", "split", *drawn.label_names[2:]))
    sheet = json.loads(croissant.write(odd, tmp_path).read_text())
    names = [field["name"] for field in sheet["recordSet"][0]["field"]]
    assert names[:4] == ["image", "split", "label image", "label split"]
    bare = replace(drawn, label_names=(), labels=drawn.labels[:, :0])
    croissant.write(bare, tmp_path)
    assert (tmp_path / croissant.RECORDS).read_text().startswith(f"image\n{drawn.names[0]}\n")
