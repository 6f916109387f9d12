"""A folder of small images, each of one colour, and a server of it."""

import colorsys

import pytest
from asking import LABELS, Client
from PIL import Image

from maclcore.annotation.server import Server
from maclcore.annotation.session import Session


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "place" / "images").mkdir(parents=True)
    for i in range(8):
        colour = tuple(int(255 * value) for value in colorsys.hsv_to_rgb(i / 8, 1, 1))
        Image.new("RGB", (24, 16), colour).save(tmp_path / "place" / "images" / f"img{i}.png")
    return tmp_path / "place"


@pytest.fixture
def served(folder):
    server = Server(Session(folder, annotator="ada", labels=LABELS)).start()
    yield server
    server.stop()


@pytest.fixture
def client(served):
    return Client(served.address)
