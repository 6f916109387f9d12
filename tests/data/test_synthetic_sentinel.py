"""The embedded archive of many bands: pure in (seed, index), physics of each label, two seasons."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maclcore import paths
from maclcore.config import EMBEDDED, Config
from maclcore.data import ARCHIVES, ArchiveError, archive_name, load_archive, synthetic_sentinel
from maclcore.data.archives import locate
from maclcore.data.statistics import STATISTICS
from maclcore.data.synthetic.drawing import MATERIALS
from maclcore.data.synthetic.render import example as aerial
from maclcore.data.synthetic_sentinel import BANDS, LABELS, SURFACES, example, generate, names
from maclcore.data.synthetic_sentinel.render import lay
from maclcore.data.synthetic_sentinel.surfaces import (
    CHANCES,
    LABEL_OF,
    PLAIN,
    SEASONS,
    Climate,
    surface_of,
)

N, SIZE = 168, 32


@pytest.fixture(scope="module")
def pictures():
    """Values (N, 15, S, S), digital numbers and decibels, and labels (N, 9)."""
    values, labels = zip(*(example(i, SIZE) for i in range(N)), strict=True)
    return np.array(values), np.array(labels)


@pytest.fixture(scope="module")
def land():
    """(N, S, S) of each pixel which surface fills it, -1 where there are several."""
    result = np.full((N, SIZE, SIZE), -1)
    for index, image in enumerate(result):
        _, _, cells, surfaces, _ = lay(0, index)
        blocks = surfaces[cells].reshape(SIZE, 4, SIZE, 4)
        pure = blocks.min(axis=(1, 3)) == blocks.max(axis=(1, 3))
        image[pure] = blocks[:, 0, :, 0][pure]
    return result


def band(values, name):
    return values[:, BANDS.index(name)]


def contrast(values, one, other):
    a, b = band(values, one), band(values, other)
    return (a - b) / (a + b)


def of(land, *surfaces):
    return np.isin(land, [list(SURFACES).index(name) for name in surfaces])


# ------------------------------------------------------------------------------- purity


def test_an_image_depends_on_seed_and_index_alone(pictures):
    values, labels = pictures
    images, again = generate(9, SIZE)
    assert images.shape == (9, 15, SIZE, SIZE) and images.dtype == np.uint8
    assert np.array_equal(again, labels[:9])
    assert np.array_equal(generate(4, SIZE)[0], images[:4]), "an image does not depend on n"
    for index in (N - 1, 100, 7):  # any order
        assert np.array_equal(example(index, SIZE)[0], values[index])
    other = generate(9, SIZE, seed=1)[0]
    assert (other != images).any(axis=(1, 2, 3)).all()
    assert len(np.unique(values.reshape(N, -1), axis=0)) == N, "no two images are equal"


def test_the_same_bits_in_another_process():
    images, labels = generate(12, 16)
    code = "import zlib; from maclcore.data.synthetic_sentinel import generate as g\n"
    code += "x, y = g(12, 16); print(zlib.crc32(x.tobytes()), zlib.crc32(y.tobytes()))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == f"{zlib.crc32(images.tobytes())} {zlib.crc32(labels.tobytes())}"


@settings(max_examples=10, deadline=None)
@given(index=st.integers(0, 10**6), size=st.integers(8, 100), seed=st.integers(0, 2**32))
def test_labels_do_not_depend_on_the_size(index, size, seed):
    values, labels = example(index, size, seed)
    assert values.shape == (15, size, size) and np.isfinite(values).all()
    assert np.array_equal(labels, example(index, 16, seed)[1])
    assert 0 <= values[:13].min() and values[:13].max() <= 10_000


def test_bands_are_chosen_by_name_and_bytes_are_those_of_the_statistics(pictures):
    everything = generate(6, SIZE)[0]
    some = generate(6, SIZE, bands=("VH", "B8A", "B2"))[0]
    assert np.array_equal(some, everything[:, [14, 8, 1]])
    for name, image in zip(BANDS, everything.swapaxes(0, 1), strict=True):
        mean, std = (STATISTICS["s1"] if name[0] == "V" else STATISTICS["s2_l1c"])[name]
        share = (band(pictures[0][:6], name).astype(float) - mean + 2 * std) / (4 * std)
        assert np.array_equal(image, np.floor(255 * np.clip(share, 0, 1)))
    with pytest.raises(ValueError, match="no band B13, HH; there are B1, B2"):
        generate(1, 8, bands=("B1", "B13", "HH"))
    for wrong in ({"n": 0}, {"image_size": 7}, {"seed": -1}):
        with pytest.raises(ValueError, match="n must be at least 1"):
            generate(**{"n": 1, "image_size": 8, **wrong})


# ------------------------------------------------------------------------------- labels


def test_a_label_is_what_enough_of_the_map_shows(pictures):
    """Counted anew, cell by cell, for a few places."""
    for index in range(0, N, 5):
        _, _, cells, surfaces, labels = lay(0, index)
        counts = dict.fromkeys([*LABELS, None], 0)
        for cell in cells.ravel():
            counts[LABEL_OF.get(list(SURFACES)[surfaces[cell]])] += 1
        if labels.any():
            assert list(labels) == [counts[name] >= 24 for name in LABELS]
        assert np.array_equal(labels, pictures[1][index])


def test_every_label_occurs_and_some_images_have_none():
    labels = np.array([lay(0, i)[4] for i in range(800)])
    shares = dict(zip(LABELS, labels.mean(axis=0), strict=True))
    assert all(0.02 < share < 0.8 for share in shares.values()), shares
    assert 0.03 < (~labels.any(axis=1)).mean() < 0.07
    assert 2 < labels.sum(axis=1).mean() < 3
    both = labels[::2].any(axis=1) & labels[1::2].any(axis=1)
    assert 0.2 < (labels[::2] != labels[1::2]).any(axis=1)[both].mean() < 0.6  # seasons matter
    snow = labels[:, LABELS.index("snow and ice")]
    assert not snow[::2].any() and snow[1::2].mean() > 0.1


def test_pixels_tell_water_and_snow_as_the_labels_do(pictures):
    """By thresholds on the bands, which know nothing of the map."""
    values, labels = pictures
    known = labels.any(axis=1)
    wet = (band(values, "B11") < 180).any(axis=(1, 2))  # nothing else is as dark there
    assert np.array_equal(wet[known], labels[known, LABELS.index("water")])
    white = (contrast(values, "B3", "B11") > 0.5) & (band(values, "B8") > 3700)
    white = white.sum(axis=(1, 2)) > 2  # not a ship's edge, which mixes with the sea in B11
    snow = labels[:, LABELS.index("snow and ice")]
    assert not (white & ~snow)[known].any() and white[snow].mean() > 0.7


def test_land_covers_have_their_spectra(pictures, land):
    values, _ = pictures
    ndvi = contrast(values, "B8", "B4")
    median = {name: np.median(ndvi[of(land, name)]) for name in SURFACES if of(land, name).any()}
    assert median["trees"] > 0.6 > 0.3 > median["dry grass"] > median["soil"] > median["water"]
    assert median["crops"] > median["ripe crops"] > median["soil"] > 0 > median["water"]
    # the red edge: trees rise fivefold from B4 to B7, soils do not double
    edge = band(values, "B7") / band(values, "B4")
    assert np.median(edge[of(land, "trees")]) > 3 > 1.8 > np.median(edge[of(land, "soil")])
    assert np.median(band(values, "B8")[of(land, "water", "sea")]) < 500
    snow = of(land, "snow")
    assert np.median(band(values, "B3")[snow]) > 4000 > 1500 > np.median(band(values, "B12")[snow])
    # the sky is blue: over water, less is scattered back in each longer wave
    sky = [np.median(band(values, name)[of(land, "sea")]) for name in ("B1", "B2", "B3", "B4")]
    assert sky == sorted(sky, reverse=True) and sky[0] > 3 * sky[3]
    assert band(values, "B10").max() < 100, "water vapour lets nothing through"


def test_echoes_are_those_of_a_radar(pictures, land):
    values, _ = pictures
    vv, vh = band(values, "VV"), band(values, "VH")
    assert vv.mean() - vh.mean() == pytest.approx(7, abs=0.7)
    level = {name: np.median(vv[of(land, name)]) for name in ("water", "soil", "trees", "roof")}
    assert level["water"] < level["soil"] - 2 and level["soil"] < level["trees"] - 3
    assert level["trees"] < level["roof"] - 2
    # speckle: power over one smooth surface varies as one over the number of looks; neighbours'
    # do not go together
    power = 10 ** (vv / 10)
    looks = []
    for image, where in zip(power, of(land, "sea"), strict=True):
        if where.sum() > 200:
            looks.append(image[where].mean() ** 2 / image[where].var())
    assert len(looks) > 5 and np.median(looks) == pytest.approx(4.4, abs=1)


def test_bands_of_larger_pixels_are_smoother(pictures):
    values, _ = pictures
    rough = {}
    for name in ("B4", "B5", "B8", "B8A", "B1"):
        image = band(values, name)
        rough[name] = np.median(abs(np.diff(image, axis=2)).mean(axis=(1, 2)) / image.std((1, 2)))
    assert rough["B5"] < 0.8 * rough["B4"] and rough["B8A"] < 0.8 * rough["B8"]
    assert rough["B1"] < 0.8 * rough["B5"]


# ------------------------------------------------------------------------------- seasons


def test_seasons_show_one_place_and_are_two_pictures(pictures):
    """A place is the scene of its number; its two pictures go together as no two others do."""
    values, _ = pictures
    images = band(values, "B8")
    flat = images.reshape(N, -1) - images.mean(axis=(1, 2), keepdims=True).reshape(N, 1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    alike = abs(flat[::2] @ flat[1::2].T)
    assert (alike.argmax(axis=1) == np.arange(N // 2)).mean() > 0.75
    assert (values[::2] != values[1::2]).mean() > 0.99
    for place in range(N // 2):
        one, two = (lay(0, 2 * place + season) for season in range(2))
        assert np.array_equal(one[2], two[2]), "the map is the place's"
    # and the place is the scene of its number, in the colours that it has there
    seen = band(values, "B3")[::2].reshape(N // 2, -1)
    drawn = np.array([aerial(place, SIZE)[0][1].ravel() for place in range(N // 2)], float)
    together = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(seen, drawn, strict=True)])
    apart = [np.corrcoef(a, b)[0, 1] for a, b in zip(seen, np.roll(drawn, 21, 0), strict=True)]
    assert np.median(together) > 0.7 > 0.3 > np.median(apart)


def test_what_covers_a_part_follows_the_seasons():
    calm = Climate(*[False] * len(CHANCES))
    for material in MATERIALS:
        for season in SEASONS:
            assert surface_of(material, season, calm, 0.99) in SURFACES
    assert set(PLAIN) == set(MATERIALS) and set(LABEL_OF) == set(SURFACES) - {"shadow"}
    told = {
        ("field", "summer", 0.1): "crops",
        ("field", "summer", 0.6): "ripe crops",
        ("field", "summer", 0.9): "soil",
        ("field", "winter", 0.1): "young crops",
        ("field", "winter", 0.9): "moist soil",
        ("grass", "summer", 0.1): "grass",
        ("grass", "winter", 0.1): "dry grass",
        ("tree", "winter", 0.1): "trees",
        ("bare soil", "winter", 0.5): "moist soil",
        ("building", "winter", 0.5): "roof",
    }
    for (material, season, luck), surface in told.items():
        assert surface_of(material, season, calm, luck) == surface
    cold = calm._replace(snowy=True, icy=True, leafless=True)
    for material, surface in (("grass", "snow"), ("water", "ice"), ("tree", "snowy trees")):
        assert surface_of(material, "winter", cold, 0.5) == surface
        assert LABEL_OF[surface_of(material, "summer", cold, 0.5)] != LABEL_OF["snow"]
    wet = calm._replace(wet=True, paddies=True)
    assert surface_of("grass", "winter", wet, 0.9) == surface_of("grass", "summer", wet, 0.1)
    assert LABEL_OF[surface_of("field", "summer", wet, 0.5)] == "flooded vegetation"
    assert surface_of("grass", "summer", calm._replace(dry=True), 0.5) == "dry grass"
    assert surface_of("grass", "summer", calm._replace(farmed=True), 0.1) == "crops"


# ------------------------------------------------------------------------------- as an archive


def test_it_is_an_archive_with_bands_and_places():
    archive = load_archive("synthetic_sentinel", image_size=8, n=30)
    assert archive.bands == BANDS and archive.images.shape == (30, 15, 8, 8)
    assert archive.label_names == LABELS and archive.title == "Synthetic Sentinel"
    assert archive.names[:3] == ("place00000_summer", "place00000_winter", "place00001_summer")
    assert (archive.names, archive.places) == names(30) and len(set(archive.places)) == 15
    assert list(archive.names) == sorted(archive.names)
    images, labels = generate(30, 8)
    assert np.array_equal(archive.images, images) and np.array_equal(archive.labels, labels)
    assert archive.grounds == archive.places
    archive = load_archive("synthetic_sentinel", image_size=8, n=200)
    parts = archive.split(0)
    homes = [{index // 2 for index in part} for part in parts]
    assert sum(map(len, homes)) == len(set().union(*homes)), "no place in two parts"
    left_out = set(range(200)) - {index for part in parts for index in part}
    assert 0 < len(left_out) < 20 and not archive.labels[list(left_out)].any()


@pytest.mark.parametrize(
    ("asked", "taken"),
    [("s1", BANDS[13:]), ("s2", BANDS[:13]), ("B4,B3,B2", ("B4", "B3", "B2")), ("", BANDS),
     ("vv, b08", ("VV", "B8"))],
)  # fmt: skip
def test_bands_are_asked_for_by_name(asked, taken):
    archive = load_archive("synthetic_sentinel", image_size=8, n=3, bands=asked)
    assert archive.bands == taken and np.array_equal(archive.images, generate(3, 8, 0, taken)[0])


def test_what_is_there_no_more_is_refused():
    with pytest.raises(ValueError, match="no band B13; there are B1, B2"):
        load_archive("synthetic_sentinel", bands="B13")
    with pytest.raises(ValueError, match="synthetic has none to choose from"):
        load_archive("synthetic", bands="B4")
    with pytest.raises(TypeError, match="it has n, seed"):
        load_archive("synthetic_sentinel", places=3)
    with pytest.raises(ArchiveError, match="did you mean 'synthetic_sentinel'"):
        load_archive("synthetic_sentinal")
    assert set(EMBEDDED) < set(ARCHIVES) and archive_name("synthetic_sentinel") in EMBEDDED
    with pytest.raises(ArchiveError):  # no folder is looked for, in training, under its name
        locate("synthetic_sentinel")
    assert Config(archive="synthetic_sentinel", bands="s2").run_id.startswith("paper-synthetic_s")


def test_it_is_cached_by_its_parameters_and_bands(monkeypatch):
    first = load_archive("synthetic_sentinel", image_size=8, n=4, bands="s1")
    others = [{"n": 6}, {"seed": 1}, {"image_size": 9}, {"bands": "s2"}, {"bands": "VH,VV"}]
    asked = {"image_size": 8, "n": 4, "bands": "s1"}
    for change in others:
        other = load_archive("synthetic_sentinel", **{**asked, **change})
        assert other.fingerprint != first.fingerprint
    assert len(list(paths.cache_root().glob("synthetic_sentinel-*.labels.npy"))) == 6
    monkeypatch.setattr(synthetic_sentinel, "generate", lambda *_: pytest.fail("drawn again"))
    again = load_archive("synthetic_sentinel", **asked)
    assert again.fingerprint == first.fingerprint and np.array_equal(again.images, first.images)
