"""A place in 13 reflectances and 2 backscatters, from the map of visible parts that scenes have."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from maclcore.data.statistics import STATISTICS, to_uint8
from maclcore.data.synthetic.drawing import MATERIALS
from maclcore.data.synthetic.render import MIN_VISIBLE, REFERENCE, build, part_map
from maclcore.data.synthetic_sentinel.surfaces import LABEL_OF, LABELS, SEASONS, SURFACES, covers

MOMENTS = STATISTICS["s2_l1c"] | STATISTICS["s1"]
BANDS = tuple(MOMENTS)
OPTICAL = len(STATISTICS["s2_l1c"])

LOOK = np.array(list(SURFACES.values()), dtype=np.float32)
CLASS = np.array([LABELS.index(LABEL_OF[s]) if s in LABEL_OF else len(LABELS) for s in SURFACES])
USUAL = {name: np.mean(look.colours, axis=0) for name, look in MATERIALS.items()}
FROZEN = np.array([name in ("snow", "ice") for name in SURFACES])  # white whatever lies under it

# The atmosphere, band by band: what it scatters by itself, in digital numbers, and what it lets
# through. Of B9 water vapour leaves a third, of B10 next to nothing.
PATH = np.float32([1150, 790, 480, 290, 240, 180, 150, 120, 100, 60, 8, 20, 10])
LETS = np.float32([0.75, 0.80, 0.85, 0.90, 0.90, 0.93, 0.94, 0.93, 0.95, 0.32, 0.004, 0.95, 0.92])
PIXEL = (6, 1, 1, 1, 2, 2, 2, 1, 2, 6, 6, 2, 2)  # of a band, in pixels of the sharpest
SHINE = [2, 2, 1, 0, 0, *[3] * 8]  # a band takes after a part's red, green, blue or their mean

LOOKS = 4.4  # independent samples in a pixel of Sentinel-1: less speckle with more
FLOOR = 10**-2.7  # noise of the radar itself, as power
NO_MAP = 0.05  # of the images have no label, as those that have no map of Dynamic World


def lay(seed: int, index: int) -> tuple:
    """What is to be painted of image `index`: the place's generator, its parts, their map, the
    surfaces (1 + P,) of no part and of each, and the image's labels (9,).

    A label is set where at least `MIN_VISIBLE` cells of the map have it.
    """
    place, season = divmod(index, len(SEASONS))
    rng, parts, cells, _ = build(seed, place)
    unmapped = rng.random(len(SEASONS)) < NO_MAP
    surfaces = covers([material for _, material, *_ in parts], rng)[season]
    surfaces = np.append(list(SURFACES).index("shadow"), surfaces)
    area = np.bincount(CLASS[surfaces][cells].ravel(), minlength=len(LABELS) + 1)
    return rng, parts, cells, surfaces, (area[:-1] >= MIN_VISIBLE) & ~unmapped[season]


def example(index: int, image_size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Image `index`: (15, S, S) float32, digital numbers and decibels, and its labels (9,) bool.

    Bands are in the order of `BANDS`. The labels do not depend on `image_size`.
    """
    rng, parts, cells, surfaces, labels = lay(seed, index)
    rough = rng.standard_normal(len(surfaces))
    lattices = [rng.standard_normal((g, g), dtype=np.float32) for g in (6, 20, 64)]
    place, season = divmod(index, len(SEASONS))
    # 1 and 2, for 0 belongs to (seed, place) itself: zeros at the end do not change a seed
    rng = np.random.default_rng((seed, place, 1 + season))

    side = image_size * -(-max(REFERENCE, 2 * image_size) // image_size)
    if side != REFERENCE:
        cells = part_map(parts, side)
    reflectance = _reflectance(parts, surfaces, rng)[cells]
    reflectance *= 1 + _texture(parts, cells, lattices)[..., None]
    optical = _through_air(_average(reflectance, image_size), season, rng)
    power = 10 ** ((LOOK[surfaces, OPTICAL:] + rough[:, None].astype(np.float32)) / 10)
    radar = _average(power[cells], image_size) + np.float32(FLOOR)
    radar *= rng.gamma(LOOKS, 1 / LOOKS, radar.shape).astype(np.float32)
    return np.concatenate([optical, 10 * np.log10(radar)]), labels


def generate(
    n: int = 600, image_size: int = 64, seed: int = 0, bands: Sequence[str] = BANDS
) -> tuple[np.ndarray, np.ndarray]:
    """The first `n` images and their labels; each depends on (seed, its index, image_size) alone.

    Returns images (n, C, image_size, image_size) uint8 in the order of `bands`, each by its mean
    and deviation in `STATISTICS`, and labels (n, 9) bool, columns as in `LABELS`.
    Raises ValueError for n < 1, image_size < 8, a negative seed or a band that is not in `BANDS`.
    """
    if n < 1 or image_size < 8 or seed < 0:
        raise ValueError(
            f"n={n}, image_size={image_size}, seed={seed}: "
            "n must be at least 1, image_size at least 8 and seed at least 0"
        )
    if absent := [band for band in bands if band not in BANDS]:
        raise ValueError(f"no band {', '.join(absent)}; there are {', '.join(BANDS)}")
    rows = [BANDS.index(band) for band in bands]
    mean, std = np.transpose([MOMENTS[band] for band in bands])
    images = np.empty((n, len(rows), image_size, image_size), dtype=np.uint8)
    labels = np.empty((n, len(LABELS)), dtype=bool)
    for i in range(n):
        values, labels[i] = example(i, image_size, seed)
        images[i] = to_uint8(values[rows], mean, std)
    return images, labels


def names(n: int = 600) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the images of `generate(n)`: their names, and the places that they show."""
    places = tuple(f"place{i // 2:05d}" for i in range(n))
    return tuple(f"{place}_{SEASONS[i % 2]}" for i, place in enumerate(places)), places


def _reflectance(parts: list, surfaces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(1 + P, 13) of each part, as bright and as coloured among its like as the scene has it."""
    usual = np.array([USUAL[material] for _, material, *_ in parts])
    colour = np.array([colour for _, _, colour, _ in parts])
    shine = np.clip(np.maximum(colour, 1) / usual, 0.5, 1.6) ** 1.5  # greys are not linear
    shine = np.concatenate([np.ones((1, 3)), shine]).astype(np.float32)
    shine = np.column_stack([shine, shine.mean(axis=1)])[:, SHINE]
    shine[FROZEN[surfaces]] = 1
    # this season's growth, wetness and dust: of visible, near and short-wave infrared light apart
    vigour = rng.normal(0, 0.08, (len(LOOK), 1)) + rng.normal(0, 0.06, (len(LOOK), 3))
    vigour = np.repeat(np.exp(vigour).astype(np.float32), (5, 5, 3), axis=1)
    return (LOOK[:, :OPTICAL] / 100 * vigour)[surfaces] * shine


def _texture(parts: list, cells: np.ndarray, lattices: list) -> np.ndarray:
    """(side, side): grain and stripes of each part, relative to its reflectance."""
    side = len(cells)
    noise = [Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC) for g in lattices]
    noise = [np.asarray(g) for g in noise]
    looks = [MATERIALS[material] for _, material, *_ in parts]
    grain = np.array([(0, 0, 0), *(look.grain for look in looks)], dtype=np.float32)
    swell = np.array([0, *(look.stripes[0] for look in looks)], dtype=np.float32)
    wave = [look.stripes[1] * part[3] for look, part in zip(looks, parts, strict=True)]
    wave = 2 * np.pi * np.array([0, *wave], dtype=np.complex64)[cells]
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side
    phase = wave.real * axis + wave.imag * axis[:, None] + 0.8 * noise[0]
    grey = sum(grain[:, k][cells] * noise[k] for k in range(3)) + swell[cells] * np.sin(phase)
    return np.clip(grey / 100, -0.5, 0.5)


def _average(fine: np.ndarray, size: int) -> np.ndarray:
    """(C, size, size) means of (side, side, C)."""
    factor = len(fine) // size
    blocks = fine.reshape(size, factor, size, factor, -1)
    return blocks.mean(axis=(1, 3), dtype=np.float32).transpose(2, 0, 1)


def _through_air(ground: np.ndarray, season: int, rng: np.random.Generator) -> np.ndarray:
    """(13, S, S) digital numbers above the air, with noise, in the pixels that each band has."""
    light = rng.uniform(*((0.9, 1.1), (0.7, 0.95))[season])  # a low sun leaves slopes in the dark
    haze = rng.uniform(0.75, 1.3)
    seen = haze * PATH[:, None, None] + 1e4 * light * LETS[:, None, None] * ground
    noise = rng.standard_normal(seen.shape, dtype=np.float32)
    seen += (4 + 0.01 * seen) * np.minimum(noise, 4)
    for band, pixel in zip(seen, PIXEL, strict=True):
        if pixel > 1:
            coarse = (max(1, len(band) // pixel),) * 2
            image = Image.fromarray(band).resize(coarse, Image.Resampling.BOX)
            band[:] = image.resize(band.shape, Image.Resampling.BILINEAR)
    return np.clip(seen, 0, 1e4)
