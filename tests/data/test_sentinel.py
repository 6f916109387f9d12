"""BigEarthNet and SSL4EO-S12 in small, as they are distributed; real patches where they are."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from geo import L2A, S2, bands_of, decibels, patch, radar, tif
from trees import fails, load

from maclcore.data import load_archive, make_split
from maclcore.data.bands import spelled
from maclcore.data.sentinel import DYNAMIC_WORLD, FORTY_THREE, LEFT_OUT, NINETEEN
from maclcore.data.statistics import STATISTICS, to_uint8

ROOT = "BigEarthNet-v1.0"
PATCHES = ("S2A_MSIL2A_20170617T113321_4_55", "S2B_MSIL2A_20170924T93021_41_29")
RADAR = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_39"
SEA, FIELDS = ["Sea and ocean", "Estuaries"], ["Rice fields", "Burnt areas", "Pastures"]


def official(root):
    """Two patches, the first of them seen by both sensors."""
    folder = root / "bigearthnet"
    patch(folder / ROOT / PATCHES[0], 0, labels=SEA)
    patch(folder / ROOT / PATCHES[1], 1, labels=FIELDS)
    radar(folder / "BigEarthNet-S1-v1.0" / RADAR, PATCHES[0], 2, labels=SEA)
    return folder


def bytes_of(values, product):
    """The bands in their order, at the size of the finest, each by numpy alone."""
    parts = [np.asarray(values[band], np.float32) for band in STATISTICS[product]]
    mean, std = np.transpose(list(STATISTICS[product].values()))
    return [to_uint8(p[None], m, s)[0] for p, m, s in zip(parts, mean, std, strict=True)]


def test_the_labels_are_the_published_ones():
    assert len(NINETEEN) == 19 and len(LEFT_OUT) == 11 and len(set(FORTY_THREE)) == 43
    assert not {*LEFT_OUT} & {old for of in NINETEEN.values() for old in of}
    assert NINETEEN["Marine waters"] == ("Coastal lagoons", "Estuaries", "Sea and ocean")


def test_version_1(tmp_path):
    official(tmp_path)
    archive = load_archive("bigearthnet", root=tmp_path, image_size=12, bands="s2", progress=False)
    assert archive.title == "BigEarthNet" and archive.names == PATCHES and archive.bands == L2A
    assert archive.label_names == tuple(NINETEEN) and archive.labels.sum() == 3
    named = [[n for n, y in zip(archive.label_names, row, strict=True) if y] for row in
             archive.labels]  # fmt: skip
    assert named == [["Marine waters"], ["Arable land", "Pastures"]]
    for k in range(2):
        wanted = bytes_of(bands_of(k, L2A), "s2_l2a")
        for band in ("B2", "B3", "B4", "B8"):
            assert np.array_equal(archive.images[k, L2A.index(band)], wanted[L2A.index(band)])
    assert archive.footnote == "2 of the archive's 590,326 images."


def test_the_originals_as_they_occur(tmp_path):
    official(tmp_path)
    archive = load("bigearthnet", root=tmp_path, labels="43", bands="B4,B3,B2")
    assert archive.label_names == tuple(sorted(SEA + FIELDS))
    assert archive.labels.sum(axis=1).tolist() == [2, 3] and archive.bands == ("B4", "B3", "B2")
    with pytest.raises(ValueError, match="labels is '20'; BigEarthNet has '19' and '43'"):
        load("bigearthnet", root=tmp_path, labels="20")


@pytest.mark.filterwarnings("ignore::maclcore.data.ArchiveWarning")
def test_both_sensors_of_one_place(tmp_path):
    folder = official(tmp_path)
    message = fails("bigearthnet", root=tmp_path)
    assert "1 x image that cannot be used" in message
    assert f"{PATCHES[1]}: no image of s1" in message
    radar_alone = load_archive("bigearthnet", root=tmp_path, image_size=12, bands="s1",
                               progress=False)  # fmt: skip
    assert radar_alone.names == PATCHES[:1] and radar_alone.bands == ("VV", "VH")
    wanted = bytes_of(decibels(2), "s1")
    assert np.array_equal(radar_alone.images[0], wanted)
    shutil.rmtree(folder / ROOT / PATCHES[1])
    both = load_archive("bigearthnet", root=tmp_path, image_size=12, progress=False)
    assert both.bands == (*L2A, "VV", "VH") and both.names == PATCHES[:1]
    assert np.array_equal(both.images[0, 12:], wanted)
    mixed = load("bigearthnet", root=tmp_path, bands="VH,B8")
    assert mixed.bands == ("VH", "B8")


def test_radar_without_its_partner_has_its_own_name(tmp_path):
    folder = official(tmp_path)
    shutil.rmtree(folder / ROOT)
    archive = load("bigearthnet", root=tmp_path)
    assert archive.names == (RADAR,) and archive.labels.sum() == 1


@pytest.mark.filterwarnings("ignore::maclcore.data.ArchiveWarning")
def test_faults_of_a_tree_all_at_once(tmp_path):
    folder = official(tmp_path)
    first, second = (folder / ROOT / name for name in PATCHES)
    (first / f"{PATCHES[0]}_B11.tif").unlink()
    cut = second / f"{PATCHES[1]}_B02.tif"
    cut.write_bytes(cut.read_bytes()[:-50])
    (second / f"{PATCHES[1]}_labels_metadata.json").write_text("{")
    bare = patch(folder / ROOT / "S2A_MSIL2A_20170617T113321_9_9", 3, labels=["Airports"])
    odd = patch(folder / ROOT / "S2A_MSIL2A_20170617T113321_8_8", 4, labels=["Sea"])
    (bare / f"{bare.name}_labels_metadata.json").unlink()
    message = fails("bigearthnet", root=tmp_path, bands="s2")
    assert f"{PATCHES[0]}: no B11" in message
    assert f"{PATCHES[1]}: {cut.name}: {cut.name}, band 1: IReadBlock failed" in message
    assert f"{PATCHES[1]}_labels_metadata.json: Expecting" in message
    assert f"{bare.name}_labels_metadata.json" in message and "path not found" in message
    assert f"{odd.name}_labels_metadata.json: Sea" in message
    assert "Expected in" in message and "metadata.parquet" in message


def test_an_image_without_any_of_the_nineteen_is_left_out_and_told(tmp_path):
    folder = official(tmp_path)
    patch(folder / ROOT / "S2A_MSIL2A_20170617T113321_9_9", 3, labels=["Airports"])
    with pytest.warns(UserWarning, match="1 x image left out, it has none of the 19 labels"):
        archive = load_archive("bigearthnet", root=tmp_path, image_size=4, bands="s2",
                               progress=False)  # fmt: skip
    assert archive.names == PATCHES


def version_2(root):
    folder = root / "bigearthnet"
    names = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{i}_57" for i in range(3)]
    scenes = [name.rsplit("_", 2)[0] for name in names]
    radars = [f"S1B_IW_GRDH_1SDV_20170612T165809_33UUP_{i}_57" for i in range(3)]
    for i in range(2):
        patch(folder / "BigEarthNet-S2" / scenes[i] / names[i], i)
        at = radar(folder / "BigEarthNet-S1" / radars[i].rsplit("_", 3)[0] / radars[i], "", i)
        (at / f"{at.name}_labels_metadata.json").unlink()
        part = folder / "BigEarthNet-S2" / scenes[i] / names[i]
        (part / f"{names[i]}_labels_metadata.json").unlink()
    table = pd.DataFrame(
        {
            "patch_id": names,
            "labels": [["Arable land", "Mixed forest"], ["Urban fabric"], ["Pastures"]],
            "split": ["test", "train", "train"],
            "country": "Austria",
            "s1_name": radars,
        }
    )
    table.to_parquet(folder / "metadata.parquet")
    return folder, names, table


def test_version_2(tmp_path):
    folder, names, table = version_2(tmp_path)
    archive = load_archive("bigearthnet", root=tmp_path, image_size=12, progress=False)
    assert archive.names == tuple(names[:2]) and archive.bands == (*L2A, "VV", "VH")
    column = archive.label_names.index
    assert np.argwhere(archive.labels).tolist() == [
        [0, column("Arable land")],
        [0, column("Mixed forest")],
        [1, column("Urban fabric")],
    ]
    assert np.array_equal(archive.images[1, 12:], bytes_of(decibels(1), "s1"))
    assert archive.footnote == "2 of the archive's 480,038 images."
    with pytest.raises(ValueError, match="labels='43', but .*has the 19 of version 2 alone"):
        load("bigearthnet", root=tmp_path, labels="43")
    shutil.rmtree(folder / "BigEarthNet-S2")
    assert load("bigearthnet", root=tmp_path).names == tuple(names[:2])
    table["labels"] = [["Arable land"], ["Town"], ["Pastures"]]
    table.to_parquet(folder / "metadata.parquet")
    assert f"{names[1]} (metadata.parquet): Town" in fails("bigearthnet", root=tmp_path)
    (folder / "metadata.parquet").write_bytes(b"x")
    assert "file that cannot be read: copy it again\n    metadata.parquet" in fails(
        "bigearthnet", root=tmp_path
    )


def test_an_empty_folder(tmp_path):
    for name in ("bigearthnet", "ssl4eo_s12"):
        (tmp_path / name).mkdir()
        assert "path not found" in fails(name, root=tmp_path)


# --- SSL4EO-S12 ----------------------------------------------------------------------------------

SEASONS = ("20200419T094031_20200419T094025_T33SWC", "20201116T023001_20201116T022955_T51TWM")
RADARS = ("S1B_IW_GRDH_1SDV_20200421T214646_20200421T214711_021234_0284B7_4B11",
          "S1A_IW_GRDH_1SDV_20201127T214646_20201127T214711_021234_0284B7_4B11")  # fmt: skip
PLACES = ("0000173", "0080717", "0000205")


def seasons(root, sensors=("s2c", "s1")):
    """Three places, two seasons each, the folders in the order of their names."""
    folder = root / "ssl4eo_s12"
    seed = 0
    for place in PLACES:
        for k in range(2):
            names = S2 if "s2c" in sensors else L2A
            for band, array in bands_of(seed, names).items():
                tif(folder / sensors[0] / place / SEASONS[k] / f"{band}.tif", array)
            for band, array in decibels(seed).items():
                tif(folder / "s1" / place / RADARS[k] / f"{band}.tif", array)
            seed += 1
    labels = {
        PLACES[0]: {SEASONS[0]: ["0", "1", "8"], SEASONS[1]: []},
        PLACES[1]: {SEASONS[1]: ["4", "5"]},
    }
    (folder / "ssl4eo_multilabel.json").write_text(json.dumps(labels))
    return folder


def known(archive):
    names = {}
    for name, row in zip(archive.names, archive.labels, strict=True):
        names[name] = [x for x, y in zip(archive.label_names, row, strict=True) if y]
    return names


LABELS = {
    "0000173_0": ["water", "trees", "snow and ice"],
    "0000173_1": [],
    "0000205_0": [],
    "0000205_1": [],
    "0080717_0": [],
    "0080717_1": ["crops", "shrub and scrub"],
}


def test_seasons_of_places_in_folders(tmp_path):
    seasons(tmp_path)
    archive = load_archive("ssl4eo_s12", root=tmp_path, image_size=12, progress=False)
    assert archive.bands == (*S2, "VV", "VH") and archive.label_names == DYNAMIC_WORLD
    assert known(archive) == LABELS
    assert archive.places == tuple(name[:7] for name in archive.names)
    order = [2 * PLACES.index(name[:7]) + int(name[-1]) for name in archive.names]
    for image, seed in zip(archive.images, order, strict=True):
        wanted = bytes_of(bands_of(seed), "s2_l1c")
        assert np.array_equal(image[1:4], wanted[1:4])
        assert np.array_equal(image[13:], bytes_of(decibels(seed), "s1"))
    split = make_split(archive.labels, 0, stratified=True, places=archive.places)
    parts = [{archive.places[i] for i in part} for part in split]
    assert [len(part) for part in parts] == [1, 1, 1] and len(set().union(*parts)) == 3


def test_radar_alone_has_the_labels_of_its_seasons_in_order_of_time(tmp_path):
    folder = seasons(tmp_path)
    shutil.rmtree(folder / "s2c")
    archive = load("ssl4eo_s12", root=tmp_path)
    assert archive.bands == ("VV", "VH")
    # of the second place the table has one season of two: which of them it is, nobody can tell
    assert known(archive) == {**LABELS, "0080717_1": []}


def test_the_other_level(tmp_path):
    seasons(tmp_path, ("s2a", "s1"))
    archive = load("ssl4eo_s12", root=tmp_path, level="l2a", bands="s2")
    assert archive.bands == L2A and known(archive) == LABELS
    with pytest.raises(ValueError, match="level is 'l1'"):
        load("ssl4eo_s12", root=tmp_path, level="l1")


def zarrs(root, shift=1000):
    """Version 1.1: two places in the first file and one in the second, of each sensor."""
    folder = root / "ssl4eo_s12"
    for number, places in ((1, PLACES[:2]), (2, PLACES[2:])):
        for kind, names, seasons_of in (("S2L1C", S2, SEASONS), ("S1GRD", ("VV", "VH"), RADARS)):
            seeds = [[2 * PLACES.index(p) + k for k in range(2)] for p in places]
            draw = bands_of if kind == "S2L1C" else (lambda seed, names: decibels(seed))
            values = np.stack(
                [np.stack([np.stack([np.kron(a, np.ones((12 // len(a),) * 2)) for a in
                                     draw(seed, names).values()]) for seed in of]) for of in seeds]
            )  # fmt: skip
            values = (values + shift).astype(np.int16) if kind == "S2L1C" else (
                values.astype(np.float32))  # fmt: skip
            file = folder / "train" / kind / f"ssl4eos12_train_seasonal_data_{number:06}.zarr.zip"
            file.parent.mkdir(parents=True, exist_ok=True)
            with zarr.storage.ZipStore(file, mode="w") as store:
                group = zarr.open_group(store, mode="w", zarr_format=2)
                spell = [b.lower() if kind == "S1GRD" else f"B{b[1:]:0>2}" for b in names]
                for name, array in (
                    ("bands", values),
                    ("band", np.array(spell)),
                    ("sample", np.array(places)),
                    ("file_id", np.array([seasons_of] * len(places))),
                ):
                    group.create_array(name, data=array)
    labels = {PLACES[0]: {SEASONS[0]: ["0", "1", "8"], SEASONS[1]: []},
              PLACES[1]: {SEASONS[1]: ["4", "5"]}}  # fmt: skip
    (folder / "ssl4eo_multilabel.json").write_text(json.dumps(labels))
    return folder


def test_version_1_1_in_zarr_files_is_the_same_archive(tmp_path):
    seasons(tmp_path / "folders")
    zarrs(tmp_path / "zarrs")
    a, b = (
        load_archive("ssl4eo_s12", root=tmp_path / of, image_size=12, progress=False)
        for of in ("folders", "zarrs")
    )
    assert a.names == b.names and a.places == b.places and a.bands == b.bands
    assert known(b) == LABELS
    same = [i for i, band in enumerate(a.bands) if band in ("B2", "B3", "B4", "B8", "VV", "VH")]
    assert np.array_equal(a.images[:, same], b.images[:, same])
    assert b.footnote == "-1,000 added in all 6 images." and a.footnote == ""
    raw = load("ssl4eo_s12", root=tmp_path / "zarrs", offset=0.0)
    assert raw.footnote == "" and raw.images[:, 1].mean() > b.images[:, 1].mean() + 50


def test_faults_of_ssl4eo(tmp_path):
    folder = seasons(tmp_path)
    shutil.rmtree(folder / "s1" / PLACES[1])
    (folder / "s2c" / PLACES[0] / SEASONS[0] / "B9.tif").unlink()
    labels = {PLACES[0]: {SEASONS[0]: ["9", "1"]}}
    (folder / "ssl4eo_multilabel.json").write_text(json.dumps(labels))
    message = fails("ssl4eo_s12", root=tmp_path)
    assert "0080717_0: no image of s1" in message and "0080717_1: no image of s1" in message
    assert "0000173_0: no B9" in message
    assert "unknown class: Dynamic World has 0 to 8" in message and ".json): 9" in message
    (folder / "ssl4eo_multilabel.json").unlink()
    assert "ssl4eo_multilabel.json" in fails("ssl4eo_s12", root=tmp_path, bands="s1")
    shutil.rmtree(folder)
    folder = zarrs(tmp_path)
    file = sorted((folder / "train/S2L1C").iterdir())[0]
    file.write_bytes(file.read_bytes()[:400])
    second = sorted((folder / "train/S2L1C").iterdir())[1]
    with zarr.storage.ZipStore(second, mode="w") as store:
        zarr.open_group(store, mode="w").create_array("bands", data=np.zeros((1, 2, 3, 4, 4)))
    message = fails("ssl4eo_s12", root=tmp_path)
    assert "2 x file that cannot be read" in message and file.name in message
    assert second.name in message and "no image of s2" not in message


# --- The real files ------------------------------------------------------------------------------

REAL = Path(os.environ.get("MACL_DATA", "")).absolute() / "sentinel" / "ben11"


@pytest.mark.skipif(not REAL.is_dir(), reason="MACL_DATA has no sentinel/ben11")
@pytest.mark.filterwarnings("ignore::maclcore.data.ArchiveWarning")
def test_real_patches_of_both_sensors(tmp_path):
    import rasterio

    (tmp_path / "bigearthnet").symlink_to(REAL)
    optical, radars = (
        load_archive("bigearthnet", root=tmp_path, image_size=120, bands=b, progress=False)
        for b in ("s2_l1c", "s1")
    )
    assert optical.images.shape == (11, 13, 120, 120) and (optical.images[:, 10] == 99).all()
    assert "11 of the archive's 590,326 images. Filled, for it lacks: B10 with 0 in all" in (
        optical.footnote
    )
    # counted in the JSON files by hand
    counts = dict(zip(optical.label_names, optical.labels.sum(axis=0).tolist(), strict=True))
    told = {"Arable land": 4, "Pastures": 4, "Complex cultivation patterns": 2, "Mixed forest": 2}
    told |= {"Broad-leaved forest": 6, "Coniferous forest": 2, "Inland wetlands": 1}
    told |= {"Transitional woodland, shrub": 4, [*NINETEEN][6]: 4}
    assert {name: count for name, count in counts.items() if count} == told
    for name, image in zip(optical.names, optical.images, strict=True):
        for band, number in (("B2", 1), ("B4", 3), ("B8", 7)):
            with rasterio.open(REAL / "s2" / name / f"{name}_B0{band[1:]}.tif") as file:
                values = file.read(1).astype(np.float64)
            assert np.array_equal(
                image[number], to_uint8(values[None], *STATISTICS["s2_l2a"][band])[0]
            )
    assert radars.images.shape == (3, 2, 120, 120)
    for name, image in zip(radars.names, radars.images, strict=True):
        means = []
        for band, got in zip(("VV", "VH"), image, strict=True):
            with rasterio.open(REAL / "s1" / name / f"{name}_{band}.tif") as file:
                values = file.read(1).astype(np.float64)
            wanted = to_uint8(values[None], *STATISTICS["s1"][band])[0]
            assert np.abs(wanted.astype(int) - got).max() <= 1
            means.append(values.mean())
        assert 4 < means[0] - means[1] < 10, "VV is brighter by about 7 dB"


@pytest.mark.skipif(not REAL.is_dir(), reason="MACL_DATA has no sentinel")
def test_the_real_table_of_version_2_knows_the_nineteen():
    table = pd.read_parquet(REAL.parent / "reben_v2_metadata.parquet", columns=["labels"])
    assert len(table) == 480_038
    assert set(np.concatenate(table["labels"].to_numpy())) == {*NINETEEN}


def test_names_in_zarr_files_are_those_of_the_tables():
    assert tuple(spelled(f"B{band[1:]:0>2}") for band in S2) == S2
