"""What is exported is what the index has, in a form that others read by its specification."""

import json
import struct

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from small import Net, folder, index_of

from maclcore.__main__ import main
from maclcore.search import vectors


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr("maclcore.search.embedder.RetrievalNet", Net)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    return folder(tmp_path / "archive")


@pytest.fixture
def index(archive, tmp_path):
    return index_of(
        archive, tmp_path / "index", year=tuple(range(40)), geometry=("mine", None) * 20
    )


def test_rows_are_those_of_the_index_in_the_order_of_names(index, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "CHUNK", 7)
    # a row that was written last has its place all the same
    index.table.update(where="name = 'img03'", values={"year": 99})
    assert vectors.export(index, tmp_path / "v.parquet") == 40
    found, rows = pd.read_parquet(tmp_path / "v.parquet"), index.rows()
    assert found["name"].tolist() == rows["name"].tolist() == sorted(rows["name"])
    assert found.loc[found["name"] == "img03", "year"].tolist() == [99]
    assert [*map(list, found["labels"])] == [*map(list, rows["labels"])]
    np.testing.assert_array_equal(np.stack(found["vector"]), index.vectors(list(rows["name"])))
    assert pq.ParquetFile(tmp_path / "v.parquet").num_row_groups == 6
    metadata = pq.read_schema(tmp_path / "v.parquet").metadata
    assert b"geo" not in metadata and "thumbnail" not in found
    assert json.loads(metadata[b"maclcore"])["made"]["network"] == index.about.made.network
    assert found["geometry"].tolist() == rows["geometry"].tolist()


def test_coordinates_make_it_geoparquet(index, tmp_path):
    places = {"img01": (13.5, 52.25), "img07": (-70.125, -33.5)}
    for name, (longitude, latitude) in places.items():
        at = {"longitude": longitude, "latitude": latitude}
        index.table.update(where=f"name = '{name}'", values=at)
    vectors.export(index, tmp_path / "v.parquet")
    geo = json.loads(pq.read_schema(tmp_path / "v.parquet").metadata[b"geo"])
    # what GeoParquet 1.1 requires: a version, and the primary column among the columns
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert column["encoding"] == "WKB" and column["geometry_types"] == ["Point"]
    assert column["bbox"] == [-70.125, -33.5, 13.5, 52.25] and "crs" not in column
    found = pd.read_parquet(tmp_path / "v.parquet").set_index("name")
    assert geo["primary_column"] == "geometry_"  # the owner has a column of the other name
    points = found[geo["primary_column"]].dropna()
    read = {}
    for name, content in points.items():
        order, kind = struct.unpack_from("<BI", content)
        assert (order, kind, len(content)) == (1, 1, 21)
        read[name] = struct.unpack_from("<dd", content, 5)
    assert read == places


def test_embed_of_an_archive_is_that_of_its_index_and_is_kept(archive, index, tmp_path, capsys):
    words = ["--backbone", "tiny", "--weights", "none", "--image-size", "16"]
    out = tmp_path / "v.parquet"
    assert main(["embed", str(archive), "--out", str(out), *words]) == 0
    assert "v.parquet: 40 vectors of 48 values" in capsys.readouterr().out
    found = pd.read_parquet(out)
    np.testing.assert_array_equal(np.stack(found["vector"]), index.vectors(list(found["name"])))
    first = out.read_bytes()
    (kept,) = (tmp_path / "results" / "cache" / "indexes").iterdir()
    written = {f: f.stat().st_mtime_ns for f in kept.rglob("*.lance")}
    assert main(["embed", str(archive), "--out", str(out), *words]) == 0
    assert out.read_bytes() == first
    assert {f: f.stat().st_mtime_ns for f in kept.rglob("*.lance")} == written
    assert main(["embed", str(tmp_path / "index"), "--out", str(out)]) == 0
    again = pd.read_parquet(out)
    np.testing.assert_array_equal(np.stack(again["vector"]), np.stack(found["vector"]))
    assert "year" in again

    assert main(["evaluate", str(out), str(archive / "labels.csv")]) == 0
    assert "40 queries, each against the others, 4 labels" in capsys.readouterr().out


def test_an_export_that_fails_leaves_the_old_file(index, tmp_path, monkeypatch):
    (tmp_path / "v.parquet").write_text("old")
    monkeypatch.setattr(vectors, "_points", lambda known: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        vectors.export(index, tmp_path / "v.parquet")
    assert (tmp_path / "v.parquet").read_text() == "old"
    assert not [*tmp_path.glob(".*")]


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_written(
    archive, tmp_path, capsys
):
    (archive / "images" / "img07.png").write_bytes(b"no image")
    words = ["--backbone", "tiny", "--weights", "none", "--image-size", "16"]
    out = tmp_path / "v.parquet"
    assert main(["embed", str(archive), "--out", str(out), *words]) == 1
    assert "img07.png" in capsys.readouterr().err
    assert len(pd.read_parquet(out)) == 39
    # what is no longer in the archive is no longer in the index that is kept of it
    (archive / "images" / "img07.png").unlink()
    lines = (archive / "labels.csv").read_text().splitlines()
    (archive / "images" / "img08.png").unlink()
    kept = [line for line in lines if not line.startswith(('"img07"', '"img08"'))]
    (archive / "labels.csv").write_text("\n".join(kept))
    assert main(["embed", str(archive), "--out", str(out), *words]) == 0
    assert len(pd.read_parquet(out)) == 38


def test_an_index_that_changes_while_it_is_read_is_not_exported(index, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "CHUNK", 10)
    points = vectors._points

    def meanwhile(known):
        index.table.delete("name = 'img30'")
        return points(known)

    monkeypatch.setattr(vectors, "_points", meanwhile)
    with pytest.raises(ValueError, match="has changed while it was read"):
        vectors.export(index, tmp_path / "v.parquet")
    assert not (tmp_path / "v.parquet").exists()
