"""The stored forces of the real archives."""

import numpy as np
import pytest

from maclcore import load_archive
from maclcore.audit import forces
from maclcore.data import ArchiveError
from maclcore.losses.forces import BANDS, KINDS


def test_there_is_a_row_for_each_archive_alpha_level_and_kind():
    table = forces.stored_forces()
    grid = table.set_index(["archive", "alpha", "level", "kind"]).index
    assert grid.is_unique
    sizes = map(len, (forces.ARCHIVES, forces.ALPHAS, forces.LEVELS, KINDS))
    assert len(table) == np.prod(list(sizes))
    assert {0.0, 1.0} <= set(table["level"]) and {1.5, -0.5} <= set(table["alpha"])


@pytest.mark.parametrize("name", forces.ARCHIVES)
def test_they_are_those_of_the_archive(name, monkeypatch):
    try:
        archive = load_archive(name, image_size=64, progress=False)
    except ArchiveError:
        pytest.skip(f"{name} is not here")
    monkeypatch.setattr(forces, "ALPHAS", [1.5])
    monkeypatch.setattr(forces, "LEVELS", [1.0])
    found = forces.archive_forces(archive).set_index("kind")
    table = forces.stored_forces().query("archive == @name and alpha == 1.5 and level == 1")
    table = table.set_index("kind")
    assert (found["pairs"] == table["pairs"]).all()
    assert np.allclose(found[["force", "share"]], table[["force", "share"]], rtol=1e-4)


def test_writing_them_covers_every_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(forces, "ALPHAS", [0.0])
    monkeypatch.setattr(forces, "LEVELS", [0.0])
    monkeypatch.setattr(forces, "OTHERS", {"graded": {"temperature": 0.2}})
    monkeypatch.setattr(forces.paths, "ROOT", tmp_path)
    synthetic = load_archive("synthetic", image_size=32, progress=False)
    monkeypatch.setattr(forces, "load_archive", lambda *_, **__: synthetic)
    forces.measure()
    table = forces.stored_forces()
    assert list(table["archive"].unique()) == list(forces.ARCHIVES)
    assert list(table.columns) == ["archive", "alpha", "level", "kind", "force", "share", "pairs"]
    bands = forces.stored_bands()
    assert len(bands) == len(forces.ARCHIVES) * len(forces.OTHERS) * len(BANDS)
    assert list(bands.columns) == ["archive", "loss", "level", "band", "force", "share", "pairs"]


def test_bands_of_other_losses_are_stored_for_each_archive_and_level():
    table = forces.stored_bands()
    grid = table.set_index(["archive", "loss", "level", "band"]).index
    assert grid.is_unique and len(grid) == len(forces.ARCHIVES) * 5 * 3 * len(BANDS)
    shares = table.groupby(["archive", "loss", "level"])["share"]
    assert (shares.apply(lambda share: share.abs().sum()) <= 100 + 1e-6).all()
    fine = table.query("loss == 'hap' and level == 0").groupby("archive")["pairs"].sum()
    whole = forces.stored_forces().query("alpha == 0 and level == 0").groupby("archive")["pairs"]
    assert fine.to_dict() == whole.sum().to_dict()
