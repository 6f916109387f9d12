"""Labels completed before a training: what it sees, what it is measured by, and what is said."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, precision_score, recall_score

from maclcore import paths
from maclcore.config import Config
from maclcore.evaluation.retrieval import METRICS
from maclcore.store import Run, collect, per_query
from maclcore.store.identity import differences, identify
from maclcore.training import completion, train
from maclcore.training.loop import Loop
from maclcore.training.retrieval import Retrieval
from maclcore.training.softcon import SoftCon
from maclcore.training.weak import Weak

CPU = torch.device("cpu")
SHORT = {"epochs": 4, "frozen_views": 1}

pytestmark = pytest.mark.usefixtures("tiny")


def config_of(archive, **changes):
    params = {**SHORT, **({"trigger": 1} if changes.get("completion", "gc") == "gc" else {})}
    values = {
        "archive": str(archive), "image_size": 32, "weights": "none", "epochs": 2,
        "embedding_dim": 8, "labels": "random", "completion": "gc", "completion_params": params,
        "loss": "mulsupcon",
    }  # fmt: skip
    return Config.from_profile("smoke", **{**values, **changes})


def seen_by(monkeypatch, method=Retrieval):
    """What methods are made of from now on."""
    seen, init = [], method.__init__

    def spy(self, source, *words, **settings):
        seen.append(source)
        init(self, source, *words, **settings)

    spy.__kwdefaults__ = init.__kwdefaults__
    monkeypatch.setattr(method, "__init__", spy)
    return seen


def test_training_images_have_completed_labels_and_nobody_else(archive, monkeypatch):
    seen, config = seen_by(monkeypatch), config_of(archive)
    run = train(config, progress=False)
    (source,), before = seen, identify(config)
    parts, y = before.split, before.archive.labels
    p = completion.completed(before, CPU)
    assert p.dtype == np.float32 and p.shape == (len(parts.train), 3)
    wanted = (p > 0.5) | before.known[parts.train]
    assert np.array_equal(source.known[parts.train], wanted)
    assert wanted.sum() > len(parts.train)  # it says something
    for part in (parts.validation, parts.test):
        assert np.array_equal(source.known[part], before.known[part])
    assert np.array_equal(source.known[parts.test], y[parts.test])
    method = Retrieval(source, CPU)
    assert np.array_equal(method.y_train, wanted)
    assert np.array_equal(method.stats.counts, wanted.sum(axis=0))
    observed, truth = before.known[parts.train], y[parts.train]
    said, cells = run.result["completion"], ~observed
    new, missing = wanted[cells], truth[cells]
    assert said == pytest.approx(
        {
            "labels per image": wanted.sum(axis=1).mean(),
            "known labels per image": 1.0,
            "precision": precision_score(missing, new, zero_division=0),
            "recall": recall_score(missing, new),
            "F1": f1_score(missing, new),
        }
    )


def test_the_result_is_measured_on_complete_labels_and_told_in_the_table(archive):
    runs = [
        train(config_of(archive, **changes), progress=False)
        for changes in (
            {},
            {"completion": "none", "completion_params": {}},
            {"labels": "complete", "completion": "none", "completion_params": {}},
        )
    ]
    table = collect()
    assert list(table.loc[[run.run_id for run in runs], "labels"]) == ["random"] * 2 + ["complete"]
    row = table.loc[runs[0].run_id]
    assert row["completion"] == "gc" and '"trigger": 1.0' in row["completion_params"]
    assert row["completion: F1"] == runs[0].result["completion"]["F1"]
    assert table.loc[[run.run_id for run in runs[1:]], "completion: F1"].isna().all()
    queries = [list(run.per_query.index) for run in runs]
    assert queries[0] == queries[1] == queries[2]  # and their relevance is that of complete labels
    ideal = [run.per_query[list(METRICS)].notna() for run in runs]
    assert ideal[0].equals(ideal[1]) and ideal[0].equals(ideal[2])
    assert runs[0].metrics != runs[1].metrics
    rows = table.loc[[run.run_id for run in runs]].assign(loss=["completed", "one", "all"])
    assert list(per_query(rows)["mAP@0.4"].columns) == ["completed", "one", "all"]
    with pytest.raises(ValueError, match="several runs of mulsupcon in one split and seed"):
        per_query(table.loc[[run.run_id for run in runs]])


def test_it_is_computed_once_for_all_losses_and_again_for_another_content(archive, monkeypatch):
    made = seen_by(monkeypatch, Weak)
    first = train(config_of(archive), progress=False)
    other = train(config_of(archive, loss="softcon", epochs=1, queue=0), progress=False)
    assert len(made) == 1 and first.result["completion"] == other.result["completion"]
    train(config_of(archive, seed=1), progress=False)
    train(config_of(archive, completion_params={**SHORT, "trigger": 2}), progress=False)
    assert len(made) == 3
    p = completion.predicted(identify(config_of(archive)), CPU)
    for file in paths.cache_root().glob("completion-*.npy"):
        file.unlink()
    assert np.array_equal(completion.predicted(identify(config_of(archive)), CPU), p)
    assert not [*paths.cache_root().glob("completion-*/")]


def test_an_interrupted_completion_goes_on_to_the_same_bits(archive, monkeypatch):
    source = identify(config_of(archive))
    whole = completion.predicted(source, CPU)
    next(paths.cache_root().glob("completion-*.npy")).unlink()
    epoch = Loop.epoch

    def stopped(self, number, *words):
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, number, *words)

    monkeypatch.setattr(Loop, "epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        completion.predicted(source, CPU)
    assert [*paths.cache_root().glob("completion-*/checkpoint-?.safetensors")]
    numbers = []
    monkeypatch.setattr(Loop, "epoch", lambda s, n, *w: numbers.append(n) or epoch(s, n, *w))
    assert np.array_equal(completion.predicted(source, CPU), whole) and numbers == [2, 3]


def test_softcon_sees_completed_labels_too(archive, monkeypatch):
    seen = seen_by(monkeypatch, SoftCon)
    train(config_of(archive, loss="softcon", epochs=1), progress=False)
    source = identify(config_of(archive, loss="softcon", epochs=1))
    assert np.array_equal(
        seen[0].known[source.split.train],
        (completion.completed(source, CPU) > 0.5) | source.known[source.split.train],
    )


# --- Which probabilities become labels ------------------------------------------------------------

shapes = st.tuples(st.integers(1, 6), st.just(3))
tables = shapes.flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])),
        arrays(bool, shape),
    )
)


@given(tables, st.floats(0.1, 3))
@settings(max_examples=40, deadline=None)
def test_a_number_or_a_threshold_and_always_what_was_observed(made, k):
    p, observed = made
    for loss, params, number in (
        ("gc", {}, False), ("gc", {"labels_per_image": k}, False),
        ("an", {}, False), ("an", {"labels_per_image": k}, True),
        ("an", {"labels_per_image": k, "choose": "threshold"}, False),
        ("gc", {"labels_per_image": k, "choose": "number"}, True),
    ):  # fmt: skip
        config = Config(labels="random", completion=loss, completion_params=params)
        asked = SimpleNamespace(
            config=config, known=observed, split=SimpleNamespace(validation=[0])
        )
        found = completion.chosen(p, observed, asked)
        assert not (observed & ~found).any()
        if number:
            taken = round(len(p) * k)
            cells = sorted(range(p.size), key=lambda i: (-p.flat[i], i))[:taken]
            wanted = np.zeros(p.size, dtype=bool)
            wanted[cells] = True
            assert np.array_equal(found, wanted.reshape(p.shape) | observed)
        else:
            assert np.array_equal(found, (p > 0.5) | observed)


def test_the_number_of_labels_may_be_counted_on_complete_validation_labels(archive):
    config = config_of(
        archive, completion="an", completion_params=SHORT, validation_labels="complete"
    )
    source = identify(config)
    valid = source.archive.labels[source.split.validation]
    assert completion.labels_per_image(source) == pytest.approx(valid.sum(axis=1).mean())
    p = completion.completed(source, CPU)
    found = completion.chosen(p, np.zeros(p.shape, dtype=bool), source)
    assert found.sum() == round(len(p) * valid.sum(axis=1).mean())


def test_quality_without_new_labels_or_without_truth():
    y, one = np.array([[1, 1], [1, 0]], dtype=bool), np.array([[1, 0], [1, 0]], dtype=bool)
    none = completion.quality(one, one, y)
    assert (none["precision"], none["recall"], none["F1"]) == (0, 0, 0)
    assert set(completion.quality(y, one, one)) == {"labels per image", "known labels per image"}
    assert completion.quality(y, one, y)["F1"] == 1


# --- The configuration ----------------------------------------------------------------------------


def test_settings_go_where_they_belong(archive):
    params = {
        "epochs": 7, "lr": 0.01, "batch_size": 32, "frozen_views": 3, "threshold": 0.7,
        "labels_per_image": 4, "choose": "threshold",
    }  # fmt: skip
    asked = config_of(archive, completion="splc", completion_params=params, frozen_views=2, views=2)
    made = completion.classifier(asked)
    assert (made.loss, made.epochs, made.lr, made.batch_size) == ("splc", 7, 0.01, 32)
    assert (made.frozen_views, made.loss_params) == (3, {"threshold": 0.7})
    assert made.method_params == {"labels_per_image": 4}
    assert (made.seed, made.labels, made.completion) == (asked.seed, "random", "none")
    plain = completion.classifier(asked.but(completion_params={}))
    assert (plain.frozen_views, plain.epochs) == (2, 100)  # as the configuration has it
    assert completion.classifier(asked.but(completion_params={}, frozen_views=0)).frozen_views == 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"completion": "gcc"}, ValueError, "not 'gcc'; did you mean 'gc'"),
        ({"completion": "macl"}, ValueError, "completion is a loss for weak labels, not 'macl'"),
        ({"loss": "an"}, ValueError, "an learns from weak labels itself: set completion='none'"),
        ({"completion_params": {"weigth": 3}}, TypeError, "'weigth'; did you mean 'weight'"),
        ({"completion_params": {"frozen_views": 0}}, ValueError, "frozen_views >= 1"),
        (
            {"completion_params": {"choose": "best"}},
            ValueError,
            "choose must be one .*'best'",
        ),
        (
            {"completion_params": {**SHORT, "choose": "number"}},
            ValueError,
            "say how many .*labels_per_image.*validation_labels='complete'",
        ),
        ({"completion": "epr"}, ValueError, "epr must know how many labels .*completion_params"),
    ],
)
def test_what_cannot_be_completed_is_told(archive, changes, error, message):
    with pytest.raises(error, match=message):
        train(config_of(archive, **changes), progress=False)
    assert not [run for run in Run.all() if run.finished]


# --- Whose a run is -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::maclcore.data.ArchiveWarning")
def test_a_changed_table_makes_another_run_and_is_told_in_words(archive, tmp_path, capsys):
    y = identify(config_of(archive)).archive
    lines = [
        f"{name},{y.label_names[row.argmax()]}" for name, row in zip(y.names, y.labels, strict=True)
    ]
    table = tmp_path / "one.csv"
    table.write_text("\n".join(["image,label", *lines]))
    config = config_of(
        archive, labels=str(table), completion="none", completion_params={}, epochs=1
    )
    run = train(config, progress=False)
    elsewhere = tmp_path / "there" / "one.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text(table.read_text())
    assert not train(config.but(labels=str(elsewhere)), progress=False).computed
    i = next(i for i, row in enumerate(y.labels) if row.sum() > 1)
    other = [name for name, has in zip(y.label_names, y.labels[i], strict=True) if has][1]
    lines[i] = f"{y.names[i]},{other}"
    table.write_text("\n".join(["image,label", *lines]))
    source = identify(config)
    if i in source.split.test:
        pytest.fail("the changed image must be one that training sees")
    assert differences(run, source) == ["other known labels in one.csv"]
    capsys.readouterr()
    again = train(config, progress=False)
    assert again.computed and again.run_id == f"{run.run_id}@{source.key}"
    assert "from other content: other known labels in one.csv" in capsys.readouterr().err


def test_another_setting_is_another_run(archive):
    one = config_of(archive, loss="gc", completion="none", completion_params={})
    ids = {
        one.run_id,
        one.but(method_params={"weight": 3}).run_id,
        one.but(method_params={"weight": 4}).run_id,
        one.but(labels="dominant").run_id,
        one.but(validation_labels="complete").run_id,
    }
    assert len(ids) == 5
