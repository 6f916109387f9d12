"""Photographs have their marks, and room for them."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba

from maclcore import plots


def test_a_gallery_marks_shared_missing_and_surplus_labels():
    images = np.zeros((3, 3, 8, 8), np.uint8)
    labels = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0]], bool)
    fig = plots.gallery([0], {"macl": np.array([[1, 2]])}, images, labels, ("sea", "ship", "dock"))
    query, method, first, second = fig.axes
    assert method.texts[0].get_text() == "MACL"
    assert query.get_xlabel() == "sea\nship"
    assert first.get_xlabel() == "✓ sea\n− ship\n+ dock"
    assert second.get_xlabel() == "✓ sea, ship"
    assert "0.33" in first.get_title() and "1.00" in second.get_title()
    edges = [ax.spines["top"].get_edgecolor() for ax in (first, second)]
    assert edges == [to_rgba(plots.frame(1 / 3)), to_rgba(plots.frame(1))]


def test_a_query_is_shown_once_whatever_the_methods():
    images, labels = np.zeros((3, 3, 8, 8), np.uint8), np.eye(3, dtype=bool)
    ranked = {method: np.array([[1, 2]]) for method in ("macl", "mulsupcon", "oracle")}
    fig = plots.gallery([0], ranked, images, labels, ("sea", "ship", "dock"))
    assert [ax.get_title() for ax in fig.axes[::4] if ax.axison] == ["query"]
    names = [ax.texts[0].get_text() for ax in fig.axes[1::4]]
    assert names == ["MACL", "MulSupCon", "Oracle"]


def test_many_labels_are_folded_below_their_picture():
    images, labels = np.zeros((2, 3, 8, 8), np.uint8), np.ones((2, 9), bool)
    labels[0] = np.arange(9) < 1
    fig = plots.gallery([0], {"macl": np.array([[1] * 6])}, images, labels, ["bare soil"] * 9)
    lines = fig.axes[2].get_xlabel().split("\n")
    assert len(lines) > 4 and max(map(len, lines)) < 16


def test_rows_of_pictures_have_their_heads_once():
    image = np.zeros((3, 8, 8), np.uint8)
    heads = [["as it is", "turned"]] * 2 + [["epoch 1", "epoch 2"]]
    fig = plots.image_table([[image] * 2] * 3, ["a", "b", "a"], heads)
    titles = [ax.get_title() for ax in fig.axes]
    assert titles == ["as it is", "turned", "", "", "epoch 1", "epoch 2"]
    assert [ax.get_ylabel() for ax in fig.axes] == ["a", "", "b", "", "a", ""]


def test_a_picture_has_room_for_a_title_of_many_lines():
    images = np.zeros((2, 3, 8, 8), np.uint8)
    high, low = (plots.image_grid(images, ["a" + "\nb" * n, "c"]) for n in (20, 3))
    assert high.get_figheight() > low.get_figheight() + 1
    assert low.get_figheight() == plots.image_grid(images, ["a", "c"]).get_figheight()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that the axes have no room
        high.draw_without_rendering()
    plt.close("all")


def test_the_pipeline_shows_its_pictures_and_notes_inside_its_frame():
    number = {"batch": 3, "query": 1, "archive": 3, "found": 2}
    pictures = {name: np.zeros((n, 3, 8, 8), np.uint8) for name, n in number.items()}
    places = ["backbone", "head", "embeddings", "labels", "terms", "loss", "ranking", *pictures]
    fig = plots.pipeline(pictures, {place: f"what is at {place}" for place in places})
    (ax,) = fig.axes
    assert len(ax.images) == sum(number.values())
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for image in ax.images:
        x0, x1, y0, y1 = image.get_extent()
        assert left <= x0 < x1 <= right and low <= y0 < y1 <= high
    said = {text.get_text() for text in ax.texts}
    assert {f"what is at {place}" for place in places} <= said
    assert _back(fig) == _back(plots.pipeline(pictures, dict.fromkeys(places, ""))) == 3.1
    assert _back(plots.pipeline(pictures, dict.fromkeys(places, ""), trained="head")) == 4.65


def _back(fig):
    """To where the gradient goes."""
    return fig.axes[0].lines[0].get_xdata()[-1]


def test_a_contact_sheet_shows_the_query_above_what_was_found_in_order():
    found = pd.DataFrame({"name": list("abcd"), "cosine": [0.9, 0.8, 0.75, -0.1]})
    found["labels"] = [["sea"], [], ["sea", "ship"], ["dock"]]
    images = np.stack([np.full((3, 8, 8), i, np.uint8) for i in range(4)])
    own = np.full((3, 8, 8), 9, np.uint8)
    like, unlike = {"x": own, "y": own + 1}, {"z": own + 2}
    fig = plots.contact_sheet(found, images, like, unlike, columns=3)
    shown = [ax for ax in fig.axes if ax.axison]
    assert len(fig.axes) == 9 and len(shown) == 7  # a line of the query, two of results
    assert [ax.get_title() for ax in shown[:3]] == ["like", "like", "unlike"]
    assert [ax.get_xlabel() for ax in shown[:3]] == ["x", "y", "z"]
    assert [ax.images[0].get_array().max() for ax in shown] == [9, 10, 11, 0, 1, 2, 3]
    assert shown[3].get_title() == "1 · 0.900" and shown[6].get_title() == "4 · −0.100"
    assert [ax.get_xlabel() for ax in shown[3:]] == ["a\nsea", "b", "c\nsea, ship", "d\ndock"]
    frames = [ax.spines["top"].get_edgecolor() for ax in shown]
    assert frames[0] == frames[1] != frames[2] != frames[3] == frames[6]
    assert plots.contact_sheet(found[:1], images[:1], like, {}, columns=3).axes[3].axison
