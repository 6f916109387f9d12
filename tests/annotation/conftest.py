"""A folder of small images, each of one colour."""

import colorsys

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "place" / "images").mkdir(parents=True)
    for i in range(8):
        colour = tuple(int(255 * value) for value in colorsys.hsv_to_rgb(i / 8, 1, 1))
        Image.new("RGB", (24, 16), colour).save(tmp_path / "place" / "images" / f"img{i}.png")
    return tmp_path / "place"
