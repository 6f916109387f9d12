"""Queries chosen on a page: what is found, what it looks like, and what the controls change."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maclcore.data.archives import Archive
from maclcore.search import choosing
from maclcore.search.choosing import Chooser, Queries, live, sheet

EVIL = "<script>alert(1)</script>"
N = 8


@pytest.fixture
def queries(monkeypatch):
    """Eight images in a circle, of which the first two have each a label of an evil name."""
    labels = np.zeros((N, 3), bool)
    labels[:, 0], labels[:2, 1], labels[4:, 2] = True, True, True
    images = np.stack([np.full((3, 16, 16), 30 * i, np.uint8) for i in range(N)])
    names = (EVIL, *(f"img{i}" for i in range(1, N)))
    archive = Archive("x", images, labels, ("sea", f"b{EVIL}", "dock"), names, "", "X")
    angle = np.linspace(0, 2, N)
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    per_query = pd.DataFrame({"nDCG@100": np.linspace(0, 1, N)})
    runs = {"macl": SimpleNamespace(embeddings=z, per_query=per_query)}
    runs["frozen"] = SimpleNamespace(embeddings=z[::-1], per_query=per_query)
    embedder = SimpleNamespace(file=lambda file: z[int(np.asarray(Image.open(file)).max()) // 30])
    monkeypatch.setattr(choosing, "_embedder", lambda method, run: embedder)
    return Queries(archive, np.arange(N), runs)


def write(file, value):
    Image.new("RGB", (16, 16), (value,) * 3).save(file, "PNG")
    return file


def test_a_test_image_finds_the_others_and_not_itself(queries):
    found = queries.by_name("img1", "macl", 3)
    assert found.rows.tolist() == [0, 2, 3] and (np.diff(found.cosine) <= 0).all()
    assert found.jaccard.tolist() == [1, 0.5, 0.5] and found.query == 1
    assert len(queries.by_name("img1", "macl", 99).rows) == N - 1
    with pytest.raises(ValueError, match="no test image 'img99'; near it: .*img"):
        queries.by_name("img99", "macl")


def test_an_image_of_ones_own_finds_all(queries, tmp_path):
    found = queries.by_file(write(tmp_path / "mine.png", 60), "macl", 3)
    assert found.rows.tolist()[0] == 2 and found.jaccard is None and found.name == "mine.png"
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="none.png"):
        queries.by_file(tmp_path / "none.png", "macl")


def test_embeddings_of_other_images_are_refused(queries):
    with pytest.raises(ValueError, match="macl has 8 embeddings of 3 images"):
        Queries(queries.archive, np.arange(3), queries.runs)


def test_names_and_labels_are_text_on_the_page(queries):
    html = sheet(queries, queries.by_name(EVIL, "macl", 4), "macl")
    assert "<script>" not in html and html.count("&lt;script&gt;") >= 4
    assert html.count("<img ") == 5 and 'src="data:image/jpeg' in html
    assert "Yang and Newsam" not in html
    queries.archive = replace(queries.archive, name="ucm_multilabel")
    assert "Yang and Newsam" in sheet(queries, queries.by_name(EVIL, "macl", 4), "macl")
    assert "J = 1.00" in html and "nDCG@100 0.0 %" in html and "<b>sea</b>" in html


def test_the_controls_change_what_is_found(queries, tmp_path):
    chooser = Chooser(queries, "img1", "macl", k=3)
    first = chooser.shown.value
    assert "img1" in first and "by MACL" in first
    chooser.method.value = "frozen"
    assert "by Frozen" in chooser.shown.value != first
    chooser.query.value = "img7"
    assert "<b>img7</b>" in chooser.shown.value
    chooser.query.value = "im"
    assert "no test image &#x27;im&#x27;" in chooser.shown.value
    chooser.query.value = str(write(tmp_path / "mine.png", 60))
    assert "<b>mine.png</b>" in chooser.shown.value and "cos 1.00" in chooser.shown.value


def test_an_uploaded_image_is_searched_by_its_content(queries, tmp_path):
    chooser = Chooser(queries, "img1", "macl", k=3)
    upload(chooser, f"{EVIL}.png", write(tmp_path / "mine", 90).read_bytes())
    assert f"<b>{choosing.escape(EVIL)}.png</b>" in chooser.shown.value
    assert "<script>" not in chooser.shown.value and chooser.query.value == ""
    chooser.method.value = "frozen"  # of the same image
    assert "png</b>" in chooser.shown.value and "by Frozen" in chooser.shown.value
    upload(chooser, "empty.png", b"")
    assert "empty.png: " in chooser.shown.value and "dropped" not in chooser.shown.value
    chooser.query.value = "img2"
    assert "<b>img2</b>" in chooser.shown.value


def upload(chooser, name, content):
    one = {"name": name, "content": memoryview(content), "size": len(content)}
    chooser.file.set_trait("value", ({**one, "type": "", "last_modified": pd.Timestamp(0)},))


def test_controls_are_shown_to_those_who_could_use_them(queries, monkeypatch):
    for name in choosing.FRONTENDS:
        monkeypatch.delenv(name, raising=False)
    chooser = Chooser(queries, "img1", "macl")
    assert not live() and "text/markdown" in chooser._repr_mimebundle_()
    monkeypatch.setenv("VOILA_REQUEST_URL", "http://localhost:8866/")
    assert live() and "application/vnd.jupyter.widget-view+json" in chooser._repr_mimebundle_()
