"""A scene painted into a map of visible parts; labels and pixels are read off that map."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageDraw

from maclcore.data.synthetic.drawing import LABELS, MATERIALS, Scene
from maclcore.data.synthetic.scenes import FREQUENCIES, SCENES, compose

REFERENCE = 128  # side of the map that labels are read from, whatever the image size
MIN_VISIBLE = 24  # cells of that map, 6 pixels of a 64 px image; smaller remnants are not drawn

LABEL_OF = {
    name: LABELS.index(m.label or name) if (m.label or name) in LABELS else len(LABELS)
    for name, m in MATERIALS.items()
}


def part_map(parts, side):
    """(side, side) int: 1 + the index of the part seen in each cell, 0 where there is none."""
    image = Image.new("I", (side, side))
    draw = ImageDraw.Draw(image)
    for k, (points, *_) in enumerate(parts, 1):
        draw.polygon((side * points - (0.5 + 0.5j)).view(float).tolist(), fill=k)
    return np.asarray(image)


def build(seed, index):
    """Scene `index`: its generator, its parts, their map and the cells of each label (17,).

    A label that shows fewer than `MIN_VISIBLE` cells loses its parts, so that a label is set if
    and only if something of it is in the picture.
    """
    rng = np.random.default_rng((seed, index))
    kind = SCENES[list(SCENES)[index % len(SCENES)]]
    scene = Scene(rng)
    want = set()
    for word, probability in FREQUENCIES.items():
        want |= {name for name in getattr(kind, word).split(",") if scene.chance(probability)}
    compose(scene, kind, want)
    parts = scene.parts
    while True:
        cells = part_map(parts, REFERENCE)
        labels = np.array([len(LABELS)] + [LABEL_OF[material] for _, material, *_ in parts])
        area = np.bincount(labels[cells].ravel(), minlength=len(LABELS) + 1)[: len(LABELS)]
        faint = np.flatnonzero((area > 0) & (area < MIN_VISIBLE))
        if not len(faint):
            return rng, parts, cells, area
        parts = [part for part in parts if LABEL_OF[part[1]] not in faint]


def paint(rng, parts, cells, size):
    """Colour, grain and stripes of each part, averaged down to (3, size, size), then the light."""
    side = len(cells)
    lattices = [rng.standard_normal((g, g), dtype=np.float32) for g in (6, 20, 64)]
    noise = [Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC) for g in lattices]
    noise = [np.asarray(g) for g in noise]
    gain = rng.uniform(0.75, 1.2) * (1 + 0.035 * rng.standard_normal(3))
    haze, sigma = rng.uniform(0, 30), rng.uniform(1, 6)

    looks = [MATERIALS[material] for _, material, *_ in parts]
    colour = np.array([(60, 60, 60), *(part[2] for part in parts)], dtype=np.float32)
    grain = np.array([(0, 0, 0), *(look.grain for look in looks)], dtype=np.float32)
    swell = np.array([0, *(look.stripes[0] for look in looks)], dtype=np.float32)
    grey = sum(grain[:, k][cells] * noise[k] for k in range(3))
    if swell.any():
        wave = [look.stripes[1] * part[3] for look, part in zip(looks, parts, strict=True)]
        wave = 2 * np.pi * np.array([0, *wave], dtype=np.complex64)[cells]
        axis = (np.arange(side, dtype=np.float32) + 0.5) / side
        phase = wave.real * axis + wave.imag * axis[:, None] + 0.8 * noise[0]
        grey += swell[cells] * np.sin(phase)
    image = colour[cells] + grey[..., None]

    factor = side // size
    offsets = range(factor)
    image = sum(image[i::factor, j::factor] for i in offsets for j in offsets) / factor**2
    image = image * gain.astype(np.float32) + np.float32(haze)
    image += np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def example(index, image_size=64, seed=0):
    """Image `index`, (3, image_size, image_size) uint8, and its labels (17,) bool."""
    rng, parts, cells, area = build(seed, index)
    side = image_size * -(-max(REFERENCE, 2 * image_size) // image_size)
    if side != REFERENCE:
        cells = part_map(parts, side)
    return paint(rng, parts, cells, image_size), area > 0


def generate(n=2100, image_size=64, seed=0, workers=None):
    """The first `n` images and their labels; each depends on (seed, its index, image_size) alone.

    Returns images (n, 3, image_size, image_size) uint8 and labels (n, 17) bool, columns as in
    `LABELS`. The labels do not depend on `image_size`: a scene is the same scene at any size.
    `workers` is a number of threads, by default one; it changes nothing but the time.
    Raises ValueError for n < 1, image_size < 8 or a negative seed.
    """
    if n < 1 or image_size < 8 or seed < 0:
        raise ValueError(
            f"n={n}, image_size={image_size}, seed={seed}: "
            "n must be at least 1, image_size at least 8 and seed at least 0"
        )
    images = np.empty((n, 3, image_size, image_size), dtype=np.uint8)
    labels = np.empty((n, len(LABELS)), dtype=bool)

    def fill(i):
        images[i], labels[i] = example(i, image_size, seed)

    with ThreadPoolExecutor(workers or 1) as pool:
        list(pool.map(fill, range(n)))
    return images, labels
