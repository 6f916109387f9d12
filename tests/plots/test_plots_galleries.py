"""Photographs have their marks, and room for them."""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from maclcore import plots


def test_a_gallery_marks_shared_missing_and_surplus_labels():
    images = np.zeros((3, 3, 8, 8), np.uint8)
    labels = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0]], bool)
    fig = plots.gallery([0], {"macl": np.array([[1, 2]])}, images, labels, ("sea", "ship", "dock"))
    query, first, second = fig.axes
    assert query.get_xlabel() == "sea\nship"
    assert first.get_xlabel() == "✓ sea\n− ship\n+ dock"
    assert second.get_xlabel() == "✓ sea\n✓ ship"
    assert "0.33" in first.get_title() and "1.00" in second.get_title()


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
