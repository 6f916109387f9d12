"""What probes say of a run stays with it: beside it, in a pack, and between the two."""

import json
import multiprocessing

import pandas as pd
import pyarrow.parquet as pq
import pytest

from maclcore.config import Config
from maclcore.experiments.recompute import recompute
from maclcore.store import Run, collect, compare, packed, runs
from maclcore.store.pack import pack, unpack
from maclcore.training import train


def said(value, **more):
    return {"scores": {"macro mAP": value, "micro F1": value / 2}, **more}


@pytest.fixture
def two(archive, tiny):
    """Runs of two seeds, without probes."""
    values = {"archive": str(archive), "epochs": 1, "batch_size": 16, "embedding_dim": 4}
    configs = [Config.from_profile("smoke", seed=seed, **values) for seed in (0, 1)]
    return [train(config, progress=False) for config in configs]


def test_a_run_without_a_probe_is_as_it_was(two, tiny):
    assert two[0].transfer == {} and not (two[0].folder / "transfer.json").exists()
    assert not [name for name in collect().columns if "mAP" in name and "macro" in name]


def test_probes_are_kept_one_beside_the_other_and_change_nothing_else(two):
    before = {file.name: file.read_bytes() for file in two[0].folder.iterdir()}
    two[0].keep_transfer("linear", said(0.5))
    two[0].keep_transfer("knn", said(0.25))
    two[0].keep_transfer("linear", said(0.75))
    assert Run.find(two[0].run_id).transfer == {"linear": said(0.75), "knn": said(0.25)}
    after = {file.name: file.read_bytes() for file in two[0].folder.iterdir()}
    assert json.loads(after.pop("transfer.json")) == two[0].transfer and after == before
    assert Run.find(two[1].run_id).transfer == {} and list(runs()["state"]) == ["finished"] * 2


def test_tables_have_a_column_a_probe_and_score(two):
    rows = collect()
    two[0].keep_transfer("linear", said(0.5, intervals={"macro mAP": [0.4, 0.6]}))
    two[1].keep_transfer("linear", said(0.75))
    two[1].keep_transfer("knn on ucm", said(0.25))
    found = collect()
    ids = [run.run_id for run in two]
    assert list(found.loc[ids, "linear: macro mAP"]) == [0.5, 0.75]
    assert list(found.loc[ids, "linear: micro F1"]) == [0.25, 0.375]
    assert pd.isna(found.loc[ids[0], "knn on ucm: macro mAP"])
    pd.testing.assert_frame_equal(found[rows.columns], rows)
    differences = compare(*ids)
    assert list(differences.loc["linear: macro mAP"]) == [0.5, 0.75, 0.25]
    assert differences.loc["knn on ucm: macro mAP", "a"] is None


def test_a_pack_carries_them_and_gives_them_back(two, tiny):
    two[0].keep_transfer("linear", said(0.5))
    rows, ids = collect(), [run.run_id for run in two]
    text = (two[0].folder / "transfer.json").read_bytes()
    file = pack("a", ids)
    assert not (two[0].folder / "transfer.json").exists()
    assert pd.read_parquet(file).set_index("run_id").loc[ids[0], "transfer.json"] == text
    assert Run.find(ids[0]).transfer == {"linear": said(0.5)} and Run.find(ids[1]).transfer == {}
    pd.testing.assert_frame_equal(collect(), rows)
    unpack(ids)
    assert (two[0].folder / "transfer.json").read_bytes() == text
    assert not (two[1].folder / "transfer.json").exists()


def test_a_probe_of_a_packed_run_lies_beside_it_until_it_is_packed_again(two, tiny):
    ids = [run.run_id for run in two]
    two[0].keep_transfer("linear", said(0.5))
    pack("a", ids)
    Run.find(ids[0]).keep_transfer("knn", said(0.25))
    Run.find(ids[1]).keep_transfer("knn", said(0.125))
    both = {"linear": said(0.5), "knn": said(0.25)}
    assert Run.find(ids[0]).transfer == both and Run.find(ids[0]).pack is not None
    assert Run.find(ids[1]).transfer == {"knn": said(0.125)}
    assert list(collect().loc[ids, "knn: macro mAP"]) == [0.25, 0.125]
    # another pack takes no run that has changed; the same one takes what is new
    with pytest.raises(ValueError, match="with other numbers than in its folder: pack it as a"):
        pack("b", ids)
    pack("a", ids)
    assert not (two[0].folder / "transfer.json").exists()
    assert packed.held(two[0].folder).files(ids[0])["transfer.json"]
    assert Run.find(ids[0]).transfer == both


def test_unpacking_takes_what_was_said_since(two, tiny):
    two[0].keep_transfer("linear", said(0.5))
    pack("a", [two[0].run_id])
    two[0].keep_transfer("knn", said(0.25))
    unpack([two[0].run_id])
    assert Run.find(two[0].run_id).pack is None
    assert Run.find(two[0].run_id).transfer == {"linear": said(0.5), "knn": said(0.25)}


def test_a_renewed_pack_and_what_lies_beside_it_are_joined(two, tiny):
    run = two[0]
    run.keep_transfer("linear", said(0.5))
    text = (run.folder / "transfer.json").read_bytes()
    run.keep_transfer("knn", said(0.25))
    pack("a", [run.run_id])
    # somebody else's probe, said when the pack did not have knn
    (run.folder / "transfer.json").write_bytes(text.replace(b"linear", b"finetune"))
    expected = {"linear": said(0.5), "knn": said(0.25), "finetune": said(0.5)}
    assert Run.find(run.run_id).transfer == expected
    pack("a", [run.run_id])
    (run.folder / "transfer.json").unlink()
    assert Run.find(run.run_id).transfer == expected


def test_packs_of_earlier_versions_stay_readable(two, tiny):
    ids = [run.run_id for run in two]
    file = pack("a", ids)
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["transfer.json"]), file, row_group_size=16)
    rows = collect()
    assert list(rows.index) == sorted(ids) and Run.find(ids[0]).transfer == {}
    assert packed.held(two[0].folder).content()[ids[0]].keys() < set(packed.FILES)
    Run.find(ids[0]).keep_transfer("knn", said(0.25))
    assert collect().loc[ids[0], "knn: macro mAP"] == 0.25
    pack("a", ids)
    assert Run.find(ids[0]).transfer == {"knn": said(0.25)}


def test_recomputing_a_run_leaves_them(two):
    two[0].keep_transfer("knn", said(0.25))
    stored, again = recompute(two[0].run_id, progress=False)
    assert stored.transfer == {"knn": said(0.25)} and again.transfer == {}
    assert not train(two[0].config, progress=False).computed
    assert Run.find(two[0].run_id).transfer == {"knn": said(0.25)}


def _keep(run, name):
    for _ in range(5):
        run.keep_transfer(name, said(0.5))


def test_processes_lose_none_of_each_others(two):
    names = [f"probe {i}" for i in range(4)]
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_keep, args=(two[0], name)) for name in names]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert sorted(two[0].transfer) == names


def test_a_damaged_file_is_told(two):
    (two[0].folder / "transfer.json").write_text("{")
    with pytest.raises(ValueError, match=r"transfer.json is damaged \(.*\); delete it"):
        _ = two[0].transfer
