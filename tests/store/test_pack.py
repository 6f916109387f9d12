"""A packed run is the run that it was: the same bytes, wherever they lie and whatever happens."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from maclcore import paths, store
from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.experiments.recompute import recompute
from maclcore.experiments.sweep import estimate, finished, lacking, stored, sweep
from maclcore.store import Run, collect, identity, packed, runs
from maclcore.store.pack import pack, unpack
from maclcore.training import load_model, train


def small(archive, **changes):
    values = {"epochs": 2, "batch_size": 16, "embedding_dim": 4, "loss": "mulsupcon", **changes}
    return Config.from_profile("smoke", archive=str(archive), **values)


def silent(config):
    return train(config, progress=False)


def bytes_of(folder):
    """Of a run's small files, as they lie in its folder."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name in packed.FILES}


def alike(left, right):
    """Everything that is asked of a run, of two."""
    assert left == right and left.run_id == right.run_id and left.finished and right.finished
    for name in ("config", "result", "identity", "metrics", "provenance"):
        assert getattr(left, name) == getattr(right, name), name
    pd.testing.assert_frame_equal(left.history, right.history)
    pd.testing.assert_frame_equal(left.per_query, right.per_query)


@pytest.fixture
def three(archive, tiny):
    """A run with epochs, another one, and one without; as they are in folders."""
    configs = [small(archive), small(archive, seed=1), small(archive, loss="chance")]
    return [silent(config) for config in configs]


def copy(results, target):
    """Another store with what is in this one, in folders."""
    shutil.copytree(results / "runs", target / "runs")
    return [Run(folder) for folder in sorted((target / "runs").iterdir())]


def test_a_pack_gives_everything_back_byte_for_byte(three, tiny, tmp_path):
    three[0].keep_transfer("knn", {"scores": {"macro mAP": 0.5}})
    before = {run.run_id: bytes_of(run.folder) for run in three}
    rows, listed = collect(), runs()
    # nothing that there is was forgotten; predictions are of trainings that tell labels
    assert set(before[three[0].run_id]) == {*packed.FILES} - {store.PREDICTIONS}
    assert "history.csv" not in before[three[2].run_id]
    others = {run.run_id: run for run in copy(tiny, tmp_path / "copy")}
    file = pack("a", before)
    assert file == tiny / "packed" / "a.parquet"
    for run in three:
        found = Run.find(run.run_id)
        assert found.pack.file == file and others[run.run_id].pack is None
        assert {n: found.read(n) for n in before[run.run_id]} == before[run.run_id]
        assert {f.name for f in run.folder.glob("*")} <= {
            "weights.safetensors",
            "embeddings.safetensors",
            "README.md",
        }
        pd.testing.assert_frame_equal(found.per_query, others[run.run_id].per_query)
        pd.testing.assert_frame_equal(found.history, others[run.run_id].history)
        alike(found, run)
    assert not three[2].folder.exists()  # chance has no weights
    pd.testing.assert_frame_equal(collect(), rows)
    again = runs().loc[listed.index]
    same = ["state", "epoch", "epochs", "mAP@0.4"]
    pd.testing.assert_frame_equal(again[same], listed[same])
    assert (again["size"] < listed["size"]).all() and (again["size"] > 0).all()
    assert ((again["age"] >= 0) & (again["age"] < 3600)).all()
    assert (
        again.loc[three[0].run_id, "size"]
        > three[0].folder.joinpath("weights.safetensors").stat().st_size
    )
    # and back: folders are what they were, and count again
    unpack(before)
    assert {run.run_id: bytes_of(run.folder) for run in three} == before
    assert all(Run.find(run_id).pack is None for run_id in before)
    pd.testing.assert_frame_equal(collect(), rows)


def test_anything_that_reads_tables_reads_a_pack(three, tiny):
    """A second witness: pandas alone, by the names of columns."""
    file = pack("a", [run.run_id for run in three])
    table = pd.read_parquet(file, columns=["run_id", "result.json"]).set_index("run_id")
    for run in three:
        assert json.loads(table.loc[run.run_id, "result.json"])["metrics"] == run.metrics


def test_a_packed_run_is_returned_at_once_and_is_used_like_any(three, archive, tiny, monkeypatch):
    run, other, chance = three
    config, rows = run.config, collect()
    z = run.embeddings
    pack("a", [r.run_id for r in three])
    found = silent(config)
    assert found == run and not found.computed and found.metrics == run.metrics
    assert not (run.folder / "result.json").exists()
    assert lacking([r.config for r in three]) == []
    pd.testing.assert_frame_equal(stored([config]), rows.loc[[config.run_id]])
    pd.testing.assert_frame_equal(sweep([config], progress=False), rows.loc[[config.run_id]])
    assert finished(config) == run and estimate([config])["basis"].item().startswith("median")
    source = identity.identify(config)
    assert identity.place(source) == run and identity.differences(found, source) == []
    assert identity.chosen([config], collect()) == [run.run_id]
    # weights and embeddings stay where they are
    model = load_model(Run.find(run.run_id))
    assert model.state_dict().keys() and np.array_equal(Run.find(run.run_id).embeddings, z)
    assert load_file(run.folder / "weights.safetensors")
    values = store.per_query(stored([config, chance.config]))
    assert len(values) == len(run.per_query)
    assert len(store.compare(run.run_id, other.run_id))
    first, again = recompute(run.run_id, progress=False)
    assert first == run and again.metrics == run.metrics
    shutil.rmtree(run.folder)
    with pytest.raises(FileNotFoundError, match="stored without its weights"):
        load_model(Run.find(run.run_id))
    with pytest.raises(FileNotFoundError, match=f"runs recompute {run.run_id}"):
        _ = Run.find(run.run_id).embeddings
    assert not silent(config).computed and not run.folder.exists()


def test_a_store_that_may_only_be_read_is_read(three, tiny, monkeypatch):
    rows, run = collect(), three[0]
    pack("a", [run.run_id for run in three])
    (tiny / "cache" / "runs.parquet").unlink()
    before = {file: file.stat().st_mtime_ns for file in tiny.rglob("*")}

    def refused(*_, **__):
        raise PermissionError("read-only file system")

    for module, name in ((os, "open"), (os, "mkdir"), (os, "replace"), (os, "unlink")):
        monkeypatch.setattr(module, name, refused)
    # hashes of files that are younger than two seconds are written anew at every look
    monkeypatch.setattr(Path, "write_text", refused)
    pd.testing.assert_frame_equal(collect(), rows)
    assert (runs()["state"] == "finished").all() and not silent(run.config).computed
    assert len(Run.find(run.run_id).per_query) == run.result["queries"]
    monkeypatch.undo()
    assert {file: file.stat().st_mtime_ns for file in tiny.rglob("*")} == before


# --- Which counts, a folder or a pack -------------------------------------------------------------


def renew(run, metric=0.125):
    """Other numbers from the same content, as another machine would compute them."""
    result = json.loads(run.read("result.json"))
    result["metrics"]["mAP@0.4"] = metric
    store.write_json(run.folder / "result.json", result)


def test_a_folder_of_the_same_content_counts_before_a_pack(three, tiny):
    run, other, _ = three
    pack("a", [r.run_id for r in three])
    before = collect()
    unpack([run.run_id])
    renew(run)
    assert Run.find(run.run_id).metrics["mAP@0.4"] == 0.125 and Run.find(run.run_id).pack is None
    after = collect()
    assert after.loc[run.run_id, "mAP@0.4"] == 0.125 and list(after.index) == list(before.index)
    pd.testing.assert_frame_equal(after.drop(run.run_id), before.drop(run.run_id))
    assert silent(run.config).metrics["mAP@0.4"] == 0.125
    # packed again, it replaces the one in the pack, at once for whoever has read the pack before
    pack("a", [run.run_id])
    assert Run.find(run.run_id).pack and Run.find(run.run_id).metrics["mAP@0.4"] == 0.125
    assert collect().loc[run.run_id, "mAP@0.4"] == 0.125
    assert set(packed.packs(tiny)[0].groups) == {r.run_id for r in three}


def test_an_unfinished_folder_does_not_count_before_a_pack(three, tiny):
    run = three[0]
    pack("a", [run.run_id])
    store.write_json(run.folder / "config.json", {"loss": "nonsense"})
    (run.folder / "history.csv").write_text("epoch\n9\n")
    assert Run.find(run.run_id).config == run.config and list(run.history["epoch"]) == [1, 2]
    assert runs().loc[run.run_id, "state"] == "finished" and not silent(run.config).computed
    # a damaged result is told as before, and can be deleted
    (run.folder / "result.json").write_text("{")
    with pytest.raises(ValueError, match="result.json is damaged .* delete its folder"):
        _ = Run.find(run.run_id).result
    shutil.rmtree(run.folder)
    assert Run.find(run.run_id).result == run.result


def relabel(archive):
    table = pd.read_csv(archive / "labels.csv")
    table.loc[3, "red"] = 1 - table.loc[3, "red"]
    table.loc[3, "green"] = 1
    table.to_csv(archive / "labels.csv", index=False)


def test_other_content_never_takes_the_name_of_a_packed_run(archive, tiny, tmp_path):
    own = shutil.copytree(archive, tmp_path / "own")
    config = small(own)
    first = silent(config)
    pack("a", [first.run_id])
    shutil.rmtree(tiny / "runs")
    relabel(own)
    second = silent(config)
    assert second.run_id.startswith(f"{first.run_id}@") and second.computed
    assert second.metrics != first.metrics
    assert Run.find(first.run_id).metrics == first.metrics
    assert set(collect().index) == {first.run_id, second.run_id}
    pack("b", [second.run_id])
    again = silent(config)
    assert again == second and not again.computed and again.metrics == second.metrics


def test_a_folder_of_other_content_is_left_aside_and_told(archive, tiny, tmp_path):
    """As where a run was computed here before a pack came that has another one of its id."""
    own = shutil.copytree(archive, tmp_path / "own")
    config = small(own)
    first = silent(config)
    assert first.identity
    pack("a", [first.run_id])
    shutil.move(tiny / "packed", tmp_path / "packed")
    shutil.rmtree(tiny / "runs")
    relabel(own)
    mine = silent(config)
    assert mine.run_id == first.run_id and mine.computed
    result, other = mine.result, first.identity
    shutil.move(tmp_path / "packed", tiny / "packed")

    key = identity.identify(config).key
    with pytest.warns(packed.PackWarning, match=f"left aside: rename it to {first.run_id}@{key}"):
        rows = collect()
    assert rows.loc[first.run_id, "archive: fingerprint"] == other["archive"]
    with pytest.warns(packed.PackWarning):
        assert Run.find(first.run_id).identity == other != result["identity"]
    with pytest.warns(packed.PackWarning), pytest.raises(ValueError, match="of other content"):
        pack("a", [first.run_id])
    with pytest.warns(packed.PackWarning), pytest.raises(ValueError, match="another run"):
        unpack([first.run_id])
    mine.folder.rename(mine.folder.with_name(f"{first.run_id}@{key}"))
    found = silent(config)
    assert found.run_id == f"{first.run_id}@{key}" and not found.computed
    assert found.result == result and len(collect()) == 2


# --- Interrupted, damaged, twice ------------------------------------------------------------------


class Killed(BaseException):
    pass


def dying(patch, left):
    """After `left` renames and removals nothing more happens to any file."""
    calls = itertools.count(1)

    def counted(function):
        def wrapped(*arguments, **words):
            if next(calls) > left:
                raise Killed
            return function(*arguments, **words)

        return wrapped

    for module, name in ((os, "replace"), (Path, "unlink"), (Path, "rmdir")):
        patch.setattr(module, name, counted(getattr(module, name)))


def test_packing_may_be_killed_anywhere_and_repeated(three, tiny, tmp_path):
    """Before each single rename or removal: every run stays what it is, in whatever state."""
    rows, ids = collect(), [run.run_id for run in three]
    want = {run.run_id: bytes_of(run.folder) for run in three}
    states, done = set(), False
    for left in itertools.count():
        results = shutil.copytree(tiny, tmp_path / f"store{left}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MACL_RESULTS", str(results))
            with pytest.MonkeyPatch.context() as death, suppress(Killed):
                dying(death, left)
                pack("a", ids)
                done = True
            found = [Run(results / "runs" / run_id) for run_id in ids]
            for run in found:
                assert {n: run.read(n) for n in want[run.run_id]} == want[run.run_id], left
            states.add(tuple(run.pack is not None for run in found))
            pd.testing.assert_frame_equal(collect(), rows)
            for lease in results.rglob("lease.lock"):  # of this process, which is not dead
                lease.unlink()
            pack("a", ids)
            assert [file.name for file in (results / "packed").iterdir()] == ["a.parquet"]
            assert not [f for f in (results / "runs").rglob("*") if f.name in packed.FILES]
            pd.testing.assert_frame_equal(collect(), rows)
        if done:
            break
    assert left > 15
    assert {(False,) * 3, (True, False, False), (True, True, False), (True,) * 3} <= states


def test_a_process_killed_in_the_middle_of_a_folder(three, tiny):
    rows, ids = collect(), [run.run_id for run in three]
    code = (
        "import os, sys; from pathlib import Path; from maclcore.store.pack import pack\n"
        "unlink = Path.unlink\n"
        "def last(self, **words):\n"
        "    if self.name == 'config.json': os.kill(os.getpid(), 9)\n"
        "    unlink(self, **words)\n"
        "Path.unlink = last\n"
        "pack('a', sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *ids])
    assert done.returncode == -9 and len(packed.packs(tiny)) == 1
    left = [(run.folder / "result.json").is_file() for run in three]
    assert left == [False, True, True] and (three[0].folder / "config.json").is_file()
    pd.testing.assert_frame_equal(collect(), rows)
    pack("a", ids)  # at once, though the dead process held a run
    assert not [f for f in (tiny / "runs").rglob("*") if f.name in packed.FILES]
    pd.testing.assert_frame_equal(collect(), rows)


def test_what_is_written_is_read_back_before_anything_goes(three, tiny, monkeypatch):
    before = bytes_of(three[0].folder)
    write = pq.write_table

    def flipped(table, file, **options):
        write(table, file, **options)
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 1
        file.write_bytes(content)

    monkeypatch.setattr(pq, "write_table", flipped)
    with pytest.raises((OSError, ValueError), match=r"a\.parquet"):
        pack("a", [three[0].run_id])
    assert bytes_of(three[0].folder) == before and not packed.packs(tiny)
    # and a pack that reads well, but otherwise
    monkeypatch.setattr(pq, "write_table", lambda t, f, **o: write(t.slice(0, len(t) - 1), f, **o))
    with pytest.raises((OSError, ValueError), match=r"a\.parquet"):
        pack("a", [run.run_id for run in three])
    assert bytes_of(three[0].folder) == before and not list((tiny / "packed").iterdir())


def test_a_damaged_pack_is_named_and_hides_no_other(three, tiny, capfd):
    a, b = (pack(name, [run.run_id]) for name, run in zip("ab", three, strict=False))
    rows, whole = collect(), a.read_bytes()
    generator = np.random.default_rng(0)
    problems = 0
    for i in range(120):
        content = bytearray(whole)
        if i % 10 == 0:
            content = content[: generator.integers(len(content))]
        else:  # a third of them where the file says what is where
            first = len(content) - 1200 if i % 3 == 0 else 0
            place = generator.integers(first, len(content))
            content[place] ^= 1 << int(generator.integers(8))
        a.unlink()
        a.write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = collect()
        assert three[1].run_id in found.index and three[2].run_id in found.index
        if three[0].run_id in found.index:
            pd.testing.assert_frame_equal(found, rows)
            run = Run(three[0].folder)
            try:  # where the damage is in what `collect` does not read
                assert bytes_of_pack(run) == bytes_of_pack(three[0]) and not caught
            except ValueError as error:
                assert str(a) in str(error) and "git checkout -- packed/a.parquet" in str(error)
                problems += 1
        else:
            (warning,) = {str(w.message) for w in caught}
            assert str(a) in warning and "delete it" in warning
            problems += 1
    assert problems > 80
    a.unlink()
    a.write_bytes(whole)
    pd.testing.assert_frame_equal(collect(), rows)


def bytes_of_pack(run):
    return {name: run.read(name) for name in packed.FILES}


def test_one_run_in_two_packs(three, tiny):
    run, other, _ = three
    rows = collect()
    a = pack("a", [run.run_id])
    unpack([run.run_id])
    pack("b", [run.run_id, other.run_id])  # which leaves it where it is
    assert not bytes_of_pack(run) == {} and not (run.folder / "result.json").exists()
    a_pack, b_pack = packed.packs(tiny)
    assert set(a_pack.groups) == {run.run_id} and set(b_pack.groups) == {other.run_id}
    shutil.copy(a, tiny / "packed" / "c.parquet")  # the same bytes twice do no harm
    pd.testing.assert_frame_equal(collect(), rows)
    unpack([run.run_id])
    renew(run)
    with pytest.raises(ValueError, match=r"a\.parquet, with other numbers"):
        pack("b", [run.run_id])
    assert (run.folder / "result.json").is_file()
    (tiny / "packed" / "c.parquet").unlink()
    pack("a", [run.run_id])
    unpack([run.run_id])
    renew(run, 0.25)
    a.rename(tiny / "d.parquet")
    pack("c", [run.run_id])
    (tiny / "d.parquet").rename(a)
    for read in (collect, runs, lambda: Run.find(other.run_id)):
        with pytest.raises(ValueError, match=rf"{run.run_id} is in .*a\.parquet and.*c\.parquet"):
            read()


def test_what_cannot_be_packed_is_named_and_nothing_is_changed(three, tiny, archive, capsys):
    run, other, chance = three
    (other.folder / "per_query.parquet").unlink()
    (chance.folder / "result.json").write_text("{")
    begun = Run(paths.runs_root() / small(archive, seed=9).run_id)
    store.write_json(begun.folder / "config.json", small(archive, seed=9).to_dict())
    before = bytes_of(run.folder)
    for name, run_id, problem in (
        ("a", other.run_id, "per_query.parquet is not there"),
        ("a", chance.run_id, "result.json is damaged"),
        ("a", begun.run_id, "is not finished"),
        ("a", "nothing", "no run 'nothing'"),
        ("../a", run.run_id, "no name for a pack"),
        (".a", run.run_id, "no name for a pack"),
    ):
        with pytest.raises(ValueError, match=problem):
            pack(name, [run.run_id, run_id])
    assert bytes_of(run.folder) == before and not packed.packs(tiny)
    with pytest.raises(ValueError, match="is in no pack"):
        unpack([run.run_id])


def test_packing_while_a_process_is_at_a_run_waits_for_nobody(three, tiny):
    pack("a", [three[0].run_id])
    with Run(three[0].folder).alone(), pytest.raises(TimeoutError):
        pack("a", [three[0].run_id])


def test_the_commands(three, tiny, archive, capsys):
    rows = collect()
    assert main(["runs", "pack", "mine"]) == 1
    assert main(["runs", "pack", "mine", "x", "--profile", "smoke"]) == 1
    assert main(["runs", "pack", "mine", "--experiment", "main_table"]) == 1
    assert main(["runs", "pack", "mine", "--profile", "paper"]) == 1
    problems = capsys.readouterr().err.splitlines()
    assert [p.startswith("error: say which runs") for p in problems] == [True, True, False, False]
    assert "main_tables" in problems[2] and "no finished run" in problems[3]
    assert main(["runs", "pack", "mine", "--profile", "smoke"]) == 0
    assert "3 runs are packed; mine.parquet has " in capsys.readouterr().out
    assert main(["runs"]) == 0 and three[0].run_id in capsys.readouterr().out
    assert main(["runs", "recompute", three[0].run_id, "--quiet"]) == 0
    assert f"stored: {tiny / 'packed' / 'mine.parquet'}" in capsys.readouterr().out
    pd.testing.assert_frame_equal(collect(), rows)
    assert main(["runs", "unpack", three[0].run_id]) == 0
    assert (three[0].folder / "result.json").is_file()


def test_packs_of_another_store_are_not_looked_at(three, tiny, tmp_path, monkeypatch):
    pack("a", [run.run_id for run in three])
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "elsewhere"))
    assert collect().empty and runs().empty and Run.all() == []
    with pytest.raises(ValueError, match="which is empty"):
        Run.find(three[0].run_id)


# --- The packs of record --------------------------------------------------------------------------


def test_the_runs_of_record_are_all_there():
    packs = packed.packs(paths.ROOT / "results")
    held = [run_id for one in packs for run_id in one.groups]
    assert len(held) == len(set(held)) >= 804 and len(packs) <= 45
    for one in packs:
        results, configs = one.column("result.json"), one.column("config.json")
        for run_id in one.groups:
            config = Config.from_dict(json.loads(configs[run_id]))
            assert config.run_id == run_id.split("@")[0]
            assert set(json.loads(results[run_id])["metrics"]) == set(store.table.METRICS)


def test_what_is_tracked_stays_few_files():
    """A repository of thousands of files is slow to clone, to list and to publish."""
    if not (paths.ROOT / ".git").exists():
        pytest.skip("not a clone")
    done = subprocess.run(["git", "-C", paths.ROOT, "ls-files"], capture_output=True, check=True)
    files = done.stdout.decode().splitlines()
    assert 50 < len(files) < 600
    assert not [name for name in files if name.startswith("results/runs/")]


def test_histories_of_record_are_those_of_each_run_in_the_order_asked_for(monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(paths.ROOT / "results"))
    rows = collect().groupby(["profile", "loss"]).head(1).sample(frac=1, random_state=0)
    each = {run_id: Run.find(run_id).history for run_id in rows.index}
    each = {run_id: table for run_id, table in each.items() if len(table)}
    assert len({tuple(table.columns) for table in each.values()}) > 1
    table = store.histories(rows)
    assert list(table.index.unique()) == list(each)
    for run_id, found in table.groupby(level=0):
        found = found.reset_index(drop=True)[each[run_id].columns]
        pd.testing.assert_frame_equal(found, each[run_id], check_dtype=False, check_exact=True)
