"""An index whose images are embedded by the workers of a Dask cluster, in this process here."""

import dask
import making
import numpy as np
import pytest
import torch
from dask.distributed import Client
from making import content, folder_of, index_folder, names, network

from maclcore import paths
from maclcore.__main__ import main
from maclcore.data.archives import read_archive
from maclcore.search import cluster
from maclcore.search.build import take
from maclcore.search.embedder import Embedder
from maclcore.search.index import Index


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """One cluster for all tests: it takes long to start where there is much other work.

    Its workers set folders and threads of this process, some when the test that asked for it is
    over: so the folders are those of all tests, and are put back when there are no workers.
    """
    words = {"processes": False, "n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACL_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("MACL_DATA", str(paths.data_root()))
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "120s"}),
            Client(**words) as client,
        ):
            yield client
    torch.set_num_threads(threads)


@pytest.fixture
def client(workers, monkeypatch):
    making.small(monkeypatch.setattr)
    cluster._embedder.cache_clear()
    return workers


def test_workers_make_the_same_index_bit_for_bit(client, tmp_path):
    folder = folder_of(tmp_path / "own", names(45))
    good = (folder / "images" / "img020.png").read_bytes()
    (folder / "images" / "img020.png").write_text("no image")
    index_folder(folder, tmp_path / "here.index")
    place = cluster.on_cluster(client, network().made)
    catalogue = read_archive(folder, progress=False)
    done = take(catalogue, network(), tmp_path / "there.index", place=place)
    assert done.new == 44 and done.problems == ["img020.png: not an image"]
    assert content(Index(tmp_path / "there.index")) == content(Index(tmp_path / "here.index"))
    (folder / "images" / "img020.png").write_bytes(good)
    assert take(catalogue, network(), tmp_path / "there.index", place=place).new == 1


def test_an_archive_that_is_drawn_is_sent_to_workers(client, tmp_path):
    catalogue, place = read_archive("synthetic", n=20), cluster.on_cluster(client, network().made)
    take(catalogue, network(), tmp_path / "there.index", place=place)
    take(catalogue, network(), tmp_path / "here.index")
    assert content(Index(tmp_path / "there.index")) == content(Index(tmp_path / "here.index"))


def test_a_worker_that_has_another_network_is_told(client, tmp_path, monkeypatch):
    catalogue = read_archive(folder_of(tmp_path / "own", names(20)), progress=False)
    ours, place = network(), cluster.on_cluster(client, network().made)
    theirs = Embedder.of_backbone("small", "none", 12)
    monkeypatch.setattr(Embedder, "of_backbone", lambda *_: theirs)
    with pytest.raises(ValueError, match="on .*another network than is here now .image_size 16, h"):
        take(catalogue, ours, tmp_path / "i", place=place)
    assert len(Index(tmp_path / "i")) == 0


def test_the_command_takes_the_address_of_a_scheduler(client, tmp_path, capsys):
    folder = folder_of(tmp_path / "own", names(20))
    arguments = ["index", "build", str(folder), "--backbone", "small", "--weights", "none"]
    arguments += ["--image-size", "16", "--out", str(tmp_path / "i")]
    assert main([*arguments, "--scheduler", client.scheduler.address]) == 0
    index = Index(tmp_path / "i")
    assert "20 new" in capsys.readouterr().out and len(index) == 20
    index_folder(folder, tmp_path / "here.index")
    assert np.array_equal(index.vectors(list(names(20))), vectors(tmp_path / "here.index"))
    assert main([*arguments, "--scheduler", "tcp://a:1", "--jobqueue", "slurm"]) == 1
    assert "not both" in capsys.readouterr().err


def vectors(where):
    return Index(where).vectors(list(names(20)))
