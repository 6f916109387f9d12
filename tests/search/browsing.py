"""An index of images of one colour each, whose network is their mean colour."""

import colorsys
import io
import math
from dataclasses import replace

import lancedb
import numpy as np
import page_client
import pyarrow as pa
import torch
from PIL import Image

from maclcore.search import index as indexes
from maclcore.search.embedder import Embedder
from maclcore.search.index import About, Index

N = 150  # images, two and a half pages
EVIL = '<img src=x onerror="document.title=1">'
LABELS = ("warm", "cold", "<b>bold</b>")


class Net(torch.nn.Module):
    """`RetrievalNet`'s interface around the mean of each colour."""

    def __init__(self, backbone, weights, embedding_dim, image_size, channels=3):
        super().__init__()
        self.head = torch.nn.Linear(3, embedding_dim)

    def features(self, images):
        return images.mean(dim=(2, 3))

    def project(self, features):
        return self.head(features)


def hue(i):
    """The colour of the i-th image: those next to one another are alike."""
    return tuple(int(255 * value) for value in colorsys.hsv_to_rgb(i / N, 1, 1))


def name(i):
    return EVIL if i == 7 else f"img{i:03}"


def content(i):
    """The i-th image as a file."""
    file = io.BytesIO()
    Image.new("RGB", (24, 24), hue(i)).save(file, "PNG")
    return file.getvalue()


def made(folder, where, n=N, thumbnails=True, **changed):
    """The index in `where` of the first n images, which lie in `folder`; `changed`: in `made`."""
    folder.mkdir(exist_ok=True)
    embedder = Embedder.of_backbone("colours", "none", 16)
    about = About(replace(embedder.made, **changed), str(folder), "Colours", LABELS)
    for i in range(n):
        (folder / f"{name(i)}.png").write_bytes(content(i))
    pixels = np.broadcast_to(
        np.array([*map(hue, range(n))], np.uint8)[..., None, None], (n, 3, 16, 16)
    )
    data = {
        "name": [*map(name, range(n))],
        "content": [str(i) for i in range(n)],
        "file": [str(folder / f"{name(i)}.png") for i in range(n)],
        "labels": [labels(i) for i in range(n)],
        "longitude": [longitude(i) for i in range(n)],
        "latitude": [None if i == 9 else 50 + math.sin(i) for i in range(n)],
        "season": ["it's summer" if i % 2 else None for i in range(n)],
        "cloud cover": [i / N for i in range(n)],
        "thumbnail": [content(i) if thumbnails else None for i in range(n)],
        "vector": list(embedder(np.ascontiguousarray(pixels))),
    }
    schema = indexes.schema(about, {"season": pa.string(), "cloud cover": pa.float64()})
    table = pa.table({key: data[key] for key in schema.names}, schema=schema)
    lancedb.connect(str(where)).create_table(indexes.TABLE, table, mode="overwrite")
    return Index(where)


def labels(i):
    return [label for label, on in zip(LABELS, (i < 40, i >= 75, i % 5 == 0), strict=True) if on]


def longitude(i):
    return None if i == 9 else -1 + i / 50


class Client(page_client.Client):
    """Asks as the page does."""

    def find(self, offset=0, limit=60, **query):
        status, told, _ = self.post("/find", {"offset": offset, "limit": limit, **query})
        return told if status == 200 else (status, told["error"])

    def names(self, **query):
        return [item["name"] for item in self.find(**query)["items"]]

    def drop(self, file, **headers):
        return self.post("/example", file, Content_Type="application/octet-stream", **headers)
