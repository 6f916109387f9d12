"""Training from weak labels, against slow trainings and what must hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from stopping import stopped
from torch import nn

from maclcore.config import Config
from maclcore.data import load_archive
from maclcore.data.augment import augment, draw
from maclcore.data.sampler import shuffled
from maclcore.evaluation.classification import classification_scores
from maclcore.evaluation.embedding import embed
from maclcore.evaluation.retrieval import evaluate
from maclcore.experiments.sweep import estimate
from maclcore.losses.weak import WEAK_LOSSES
from maclcore.models.network import LabelHead
from maclcore.store import Run, collect, compare
from maclcore.store.identity import identify
from maclcore.store.pack import pack, unpack
from maclcore.training import distributed, load_model, train
from maclcore.training.loop import Loop, learning_rate
from maclcore.training.weak import Weak

CPU = torch.device("cpu")


class Net(nn.Module):
    """RetrievalNet's interface around one convolution with BatchNorm."""

    def __init__(
        self, backbone, weights, embedding_dim, image_size, channels=3, first_layer="random"
    ):
        super().__init__()
        self.fresh, self.channels = [], channels
        self.backbone = nn.Sequential(nn.Conv2d(3, 12, 4, stride=4), nn.BatchNorm2d(12), nn.ReLU())
        self.head = nn.Linear(24, embedding_dim)

    def features(self, images):
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        h = self.backbone(images).flatten(2)
        return torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1)

    def project(self, features):
        return self.head(features)

    def forward(self, images):
        return self.project(self.features(images))


@pytest.fixture(autouse=True)
def net(monkeypatch, tmp_path):
    monkeypatch.setattr("maclcore.training.retrieval.RetrievalNet", Net)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))


def asked(archive, loss="gc", **changes):
    """One known label an image, of the features of two views and the clean image."""
    values = {"labels": "random", "frozen_views": 2, "epochs": 5, "batch_size": 16, "lr": 0.01}
    values |= {"loss": loss, "precision": "fp32", **changes}
    return Config.from_profile("smoke", archive=str(archive), **values)


def loop(config, folder, source=None, owner="owner"):
    folder.mkdir(exist_ok=True)
    settings = config.method_params
    return Loop(Weak(source or identify(config), CPU, **settings), folder, CPU, owner)


def trained(config, folder, source=None):
    found = loop(config, folder, source)
    found.fit(progress=False)
    return found


def state(method):
    """All that it holds, by name."""
    parts = method.modules.items()
    return {(name, key): value for name, m in parts for key, value in m.state_dict().items()}


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=0, atol=0, equal_nan=True, msg=str(name))


# --- Against a slow training ----------------------------------------------------------------------


def slow_training(source, trigger=None, weight=0.0, a=0.99, b=0.9):
    """Head-only, in one loop of its own, written from what is said of it.

    Stage two begins after epoch `trigger`; None: never.
    """
    config, train = source.config, source.split.train
    torch.manual_seed(config.seed)
    net = Net("", "", config.embedding_dim, config.image_size).eval()
    pixels = torch.from_numpy(np.stack([source.archive.images[i] for i in train]))
    with torch.no_grad():
        views = [
            net.features(
                augment(pixels, draw(len(source.archive), seed=config.seed, epoch=v)[train])
            )
            for v in range(config.frozen_views)
        ]
        views.append(net.features(pixels))
    every = torch.cat(views)
    mean, spread = every.mean(dim=0), every.std(dim=0, correction=0)
    spread[spread == 0] = 1
    o = torch.from_numpy(source.known[train]).double()
    torch.manual_seed(config.seed)
    head = nn.Sequential(nn.Linear(24, 512), nn.ReLU(), nn.Linear(512, o.shape[1]))
    teacher = [p.detach().clone() for p in head.parameters()]
    T, steps = {}, 0
    optimizer = torch.optim.Adam(head.parameters(), weight_decay=config.weight_decay)
    for epoch in range(config.epochs):
        optimizer.param_groups[0]["lr"] = learning_rate(config, epoch)
        x = (views[epoch % len(views)] - mean) / spread
        for batch in shuffled(len(train), config.batch_size, seed=config.seed, epoch=epoch):
            p = head(x[batch]).double().sigmoid()
            cost = -(o[batch] * p.log() + (1 - o[batch]) * (1 - p).log())
            if trigger is not None and epoch >= trigger:
                with torch.no_grad():
                    W, v, V, u = teacher
                    q = ((x[batch] @ W.T + v).relu() @ V.T + u).double().sigmoid()
                for i, said in zip(batch.tolist(), q, strict=True):
                    T[i] = b * T[i] + (1 - b) * said if i in T else said
                t = torch.stack([T[i] for i in batch.tolist()])
                cost = cost + weight * (1 - o[batch]) * (1 - p * t).log()
            optimizer.zero_grad()
            cost.mean().backward()
            nn.utils.clip_grad_norm_(head.parameters(), config.clip_norm)
            optimizer.step()
            decay = min(1 - 1 / (steps + 1), a)
            with torch.no_grad():
                teacher = [
                    decay * slow + (1 - decay) * fast
                    for slow, fast in zip(teacher, head.parameters(), strict=True)
                ]
            steps += 1
    return head, teacher, T


def near(a, b):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=2e-3, atol=2e-5)


def test_a_slow_training_on_assumed_negatives_ends_at_the_same_weights(archive, tmp_path):
    config = asked(archive, "an", epochs=4)
    found = trained(config, tmp_path / "run").method
    head, *_ = slow_training(found.source)
    near(found.trained.parameters(), head.parameters())


def test_a_slow_training_with_calibration_ends_at_the_same_weights(archive, tmp_path):
    config = asked(archive, epochs=5, method_params={"trigger": 2, "weight": 4.0})
    found = trained(config, tmp_path / "run").method
    head, teacher, T = slow_training(found.source, trigger=2, weight=4.0)
    near(found.trained.parameters(), head.parameters())
    near(found.cost.teacher.parameters(), teacher)
    seen = found.cost.memory.seen[:, 0].nonzero()[:, 0].tolist()
    assert seen == sorted(T)
    expected = torch.stack([T[i] for i in seen]).float()
    torch.testing.assert_close(found.cost.memory.mean[seen], expected, rtol=2e-3, atol=2e-4)
    other, *_ = slow_training(found.source)
    assert (other[0].weight - head[0].weight).abs().max() > 1e-3, "calibration does something"


def test_the_views_take_turns_with_the_clean_images_and_are_standardised(archive):
    method = Weak(identify(asked(archive)), CPU)
    turns = [method.inputs.of_epoch(epoch, 1) for epoch in range(4)]
    clean = torch.from_numpy(method.inputs.clean[method.source.split.train])
    assert torch.equal(turns[2], clean) and torch.equal(turns[3], turns[0])
    x = (torch.cat(turns[:3]) - method.trained.mean) / method.trained.spread
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(24), atol=1e-4, rtol=0)
    constant = torch.cat(turns[:3]).std(dim=0) == 0
    torch.testing.assert_close(x.std(dim=0, correction=0)[~constant], torch.ones(24)[~constant])


# --- Stopped and resumed --------------------------------------------------------------------------

SETTINGS = {"trigger": 2, "weight": 4.0, "mixup": 0.5}
CASES = [("gc", {"method_params": SETTINGS}, n) for n in (1, 2, 3)]
CASES += [("gc", {"method_params": SETTINGS, "frozen_views": 0}, n) for n in (1, 2, 3)]
CASES += [("gc", {"method_params": {"trigger": "slope"}}, 3)]
CASES += [("role", {"method_params": {"labels_per_image": 1.5}}, n) for n in (1, 3)]
CASES += [(name, {}, n) for name in ("em_apl", "ll_cp", "elr") for n in (1, 3)]
CASES += [(name, {}, 2) for name in ("ll_r", "gr", "splc")]


@pytest.mark.parametrize(("loss", "changes", "epochs"), CASES)
def test_it_resumes_to_the_same_bits(archive, tmp_path, loss, changes, epochs):
    changes = {"method_params": {}, **changes}
    if loss == "ll_cp":
        changes["method_params"] = {"delta": 0.1}
    config = asked(archive, loss, **changes)
    straight, part = trained(config, tmp_path / "straight"), loop(config, tmp_path / "parts")
    before = {name: value.clone() for name, value in state(part.method).items()}
    stopped(part, epochs)
    resumed = trained(config, tmp_path / "parts")
    after = state(straight.method)
    same(after, state(resumed.method))
    if WEAK_LOSSES[loss].needs in ("theta", "soft", "memory", "teacher") or loss == "ll_cp":
        kept = [name for name in after if name[0] == "loss"]
        assert any(not torch.equal(before[name], after[name]) for name in kept)
    a, b = (one.method.outcome() for one in (straight, resumed))
    assert torch.equal(a.tensors["predictions"]["predicted"], b.tensors["predictions"]["predicted"])
    timed = ("seconds", "time", "session", "images_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in one.history]
        for one in (straight, resumed)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("changes", [{"weight": 4.0}, {"weight": 3.0, "trigger": 1}])
def test_the_checkpoint_of_other_settings_is_not_taken(archive, tmp_path, changes):
    first, other = (
        asked(archive, method_params=p) for p in ({"weight": 3.0}, {"weight": 3.0} | changes)
    )
    assert first.run_id != other.run_id
    stopped(loop(first, tmp_path / "run", owner=first.run_id), 2)
    with pytest.raises(ValueError, match=f"belongs to run {first.run_id}"):
        loop(other, tmp_path / "run", owner=other.run_id).fit(progress=False)


# --- What may be seen -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["an", "gc", "em_apl"])
def test_labels_that_are_not_known_have_no_influence(archive, tmp_path, loss):
    config = asked(archive, loss, epochs=4)
    source = identify(config)
    labels = source.archive.labels.copy()
    rows = np.concatenate([source.split.train, source.split.validation])
    labels[rows] = ~labels[rows] | source.known[rows]
    other = replace(source, archive=replace(source.archive, labels=labels))
    a, b = (
        trained(config, tmp_path / name, given).method
        for name, given in (("a", source), ("b", other))
    )
    same(state(a), state(b))
    found = [method.outcome() for method in (a, b)]
    assert torch.equal(*(one.tensors["predictions"]["predicted"] for one in found))


def test_an_image_that_has_not_been_visited_has_no_influence(archive, tmp_path):
    """The memory of images that were not seen yet may hold anything."""
    config = asked(archive, epochs=3, batch_size=15, method_params={"trigger": 1})
    plain, strange = loop(config, tmp_path / "a"), loop(config, tmp_path / "b")
    strange.method.cost.memory.mean.fill_(0.7)
    plain.fit(progress=False)
    strange.fit(progress=False)
    memory = strange.method.cost.memory
    seen = memory.seen[:, 0]
    assert 0 < (~seen).sum() < len(seen) / 2, "the last part of a batch is dropped"
    assert (memory.mean[~seen] == 0.7).all()
    assert torch.equal(memory.mean[seen], plain.method.cost.memory.mean[seen])
    same(plain.method.trained.state_dict(), strange.method.trained.state_dict())
    told = [loop.history[-1]["mean_t"] for loop in (plain, strange)]
    assert told[0] == told[1] == pytest.approx(memory.mean[seen].mean().item())


def test_images_without_a_known_label_are_left_out(archive, tmp_path):
    config = asked(archive, "an", epochs=2)
    source = identify(config)
    weak = source.known.copy()
    unknown = source.split.train[::5]
    weak[unknown] = weak[source.split.validation[0]] = False
    method = trained(config, tmp_path / "run", replace(source, weak=weak)).method
    assert not set(unknown) & set(method.source.split.train)
    assert len(method.rows) == len(source.split.train) - len(unknown) == len(method.cost.o)
    row = method.after_epoch()
    given = source.split.validation[1:]
    p = method.logits(given).double().sigmoid()
    y = torch.from_numpy(weak[given])
    expected = -torch.where(y, p.log(), (1 - p).log()).mean()
    assert row["validation_an"] == pytest.approx(expected.item(), rel=1e-5)


# --- What it is worth, and what is said of it -----------------------------------------------------


def test_complete_labels_are_the_ceiling_and_chance_is_the_floor(tmp_path):
    archive = load_archive("synthetic", n=400, image_size=32)
    found = {}
    for loss, labels in (("full", "complete"), ("an", "random")):
        config = asked("synthetic", loss, labels=labels, epochs=40, batch_size=32, lr=0.003)
        method = trained(config, tmp_path / loss, identify(config, archive=archive)).method
        test, y = method.source.split.test, archive.labels
        found[loss] = classification_scores(method.outcome().predicted, y[test])
    share = np.broadcast_to(y[method.source.split.train].mean(axis=0), y[test].shape)
    found["chance"] = classification_scores(share, y[test])
    for name, least in (("macro mAP", 0.02), ("micro mAP", 0.02)):
        full, an, chance = (found[row][name] for row in ("full", "an", "chance"))
        assert full > an + least and an > chance + least, found


def test_an_epoch_is_told_by_what_its_clean_images_say(archive, tmp_path):
    found = trained(asked(archive, epochs=3), tmp_path / "run")
    method, row = found.method, found.history[-1]
    p = method.logits(method.source.split.train).sigmoid()
    assert row["predicted_labels"] == pytest.approx((p > 0.5).sum(dim=1).float().mean().item())
    index = method.source.split.validation
    expected = classification_scores(method.logits(index).sigmoid(), method.source.known[index])
    assert {name: row[name] for name in expected} == expected
    columns = (tmp_path / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert {"predicted_labels", "validation_an", "trigger", "fallback", "mean_t"} <= set(columns)


def test_a_trigger_is_taken_at_its_epoch_and_a_fallback_is_said(archive, tmp_path, capsys):
    fixed = trained(asked(archive, method_params={"trigger": "3"}), tmp_path / "fixed")
    assert [row["trigger"] for row in fixed.history] == [0, 0, 3, 3, 3]
    assert [row["mean_t"] > 0 for row in fixed.history] == [False, False, False, True, True]
    assert not any(row["fallback"] for row in fixed.history)
    assert "no detector" not in capsys.readouterr().err
    # a loss on validation images that falls all along
    config = asked(archive, epochs=10, lr=1e-5)
    late = trained(config, tmp_path / "late")
    assert [row["trigger"] for row in late.history] == [0] * 3 + [4] * 7
    assert [row["fallback"] for row in late.history] == [0] * 3 + [1] * 7
    said = capsys.readouterr().err
    assert said.count("no detector has fired") == 1
    assert f"{config.run_id}: no detector has fired" in said and "after epoch 4" in said


def test_a_collapse_is_said_once(archive, tmp_path, capsys):
    """λ = 40 pulls up all that is not known to be there."""
    config = asked(
        archive, epochs=6, method_params={"trigger": 1, "weight": 40.0, "labels_per_image": 1}
    )
    found = trained(config, tmp_path / "run")
    assert found.history[-1]["predicted_labels"] > 2
    assert capsys.readouterr().err.count("collapse") == 1
    trained(asked(archive, "an"), tmp_path / "an")
    assert "collapse" not in capsys.readouterr().err


# --- Settings -------------------------------------------------------------------------------------


def method(archive, loss="gc", **changes):
    config = asked(archive, loss, **changes)
    return Weak(identify(config), CPU, **config.method_params)


def test_the_expected_number_of_labels_is_given_or_counted_where_validation_is_complete(archive):
    given = method(archive, method_params={"labels_per_image": 1.25})
    assert given.k == 1.25 and given.cost.loss.keywords["weight"] == 2.25
    counted = method(archive, validation_labels="complete")
    labels = counted.source.archive.labels[counted.source.split.validation]
    assert counted.k == labels.sum(axis=1).mean() > 1
    assert counted.cost.loss.keywords["weight"] == 1 + counted.k
    unknown = method(archive)
    assert unknown.k == 0 and unknown.cost.loss.keywords["weight"] == 5
    assert method(archive, method_params={"weight": 7}).cost.loss.keywords["weight"] == 7
    assert method(archive, "role", validation_labels="complete").k == counted.k
    for loss in ("epr", "role"):
        with pytest.raises(ValueError, match=f"{loss} must know .*labels_per_image"):
            method(archive, loss)


@pytest.mark.parametrize(
    ("loss", "changes", "error", "words"),
    [
        ("gc", {"method_params": {"trigger": "validate"}}, ValueError, "did you mean 'validation'"),
        ("gc", {"method_params": {"trigger": 5}}, ValueError, "from 1 to 4"),
        ("gc", {"method_params": {"trigger": 2.5}}, ValueError, "from 1 to 4"),
        ("gc", {"method_params": {"trigger": 0}}, ValueError, "from 1 to 4"),
        ("gc", {"method_params": {"teacher_decay": 1}}, ValueError, r"teacher_decay .* \[0, 1\)"),
        ("elr", {"method_params": {"memory_decay": -0.1}}, ValueError, "memory_decay must be"),
        ("gc", {"method_params": {"mixup": -1}}, ValueError, "mixup must be finite and not"),
        ("gc", {"method_params": {"weight": -1}}, ValueError, "weight must be finite and not"),
        ("an", {"method_params": {"labels_per_image": 4}}, ValueError, "from 0 to 3, got 4"),
        ("ll_r", {"method_params": {"delta": 2}}, ValueError, "delta must be in"),
        ("gc", {"method_params": {"mixup": 1}, "micro_batch": 8}, ValueError, "micro_batch=None"),
        ("an", {"method_params": {"trigger": 2}}, TypeError, "trigger is a setting of gc"),
        ("an", {"method_params": {"memory_decay": 0}}, TypeError, "a setting of elr, gc"),
        ("em", {"loss_params": {"entropy": 1}}, TypeError, "did you mean 'entropy_weight'"),
        ("gc", {"loss_params": {"weight": 1}}, TypeError, "gc has no parameter 'weight'"),
        ("full", {}, ValueError, "labels='complete', or loss='an'"),
    ],
)
def test_what_cannot_be_is_refused(archive, loss, changes, error, words):
    with pytest.raises(error, match=words):
        method(archive, loss, **changes)


def test_several_processes_are_refused(archive, monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: (0, 2))
    with pytest.raises(ValueError, match="gc is trained by one process: start it without torchrun"):
        method(archive)


@pytest.mark.parametrize("loss", ["an_ls", "wan", "epr", "em", "hill", "asl"])
def test_a_loss_is_given_its_parameters(archive, loss):
    entry = WEAK_LOSSES[loss]
    params = {name: value * 1.5 for name, value in entry.defaults.items()}
    k = {"labels_per_image": 1.5} if entry.needs_labels_per_image else {}
    made = method(archive, loss, loss_params=params, method_params=k)
    made.begin(0)
    batch = torch.arange(12)
    z = made.trained(made.varied[batch])
    expected = entry.function(z, made.cost.o[batch], **params, **k)
    assert torch.equal(made.step(batch)["loss"], expected)


# --- The stored run -------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen_views", [2, 0])
def test_a_run_is_stored_with_what_it_tells_of_test_images(archive, tmp_path, frozen_views):
    config = asked(archive, frozen_views=frozen_views, method_params={"trigger": 2})
    run = train(config, progress=False)
    source = identify(config)
    test, y = source.split.test, source.archive.labels
    table = run.predictions
    assert list(table.index) == [source.archive.names[i] for i in test]
    assert list(table) == list(source.archive.label_names) and (table.dtypes == np.float32).all()
    expected = classification_scores(table, y[test])
    assert run.result["scores"] == expected
    assert run.result["method"]["trigger"] == 2 and run.result["method"]["mixup"] == 0
    row = collect().loc[run.run_id]
    assert {name: row[f"test: {name}"] for name in expected} == expected
    every = load_file(run.folder / "predictions.safetensors")["predicted"]
    assert every.shape == y.shape and every.dtype == np.float32
    np.testing.assert_array_equal(every[test], table)
    # its network, and what that retrieves
    model = load_model(run)
    z, h = embed(model, source.archive.images, test)
    torch.testing.assert_close(z, torch.from_numpy(run.embeddings), rtol=1e-4, atol=1e-5)
    assert evaluate(z, y[test]).summary() == pytest.approx(run.metrics)
    head = LabelHead(24, y.shape[1])
    kept = load_file(run.folder / "weights.safetensors")
    weights = {k.removeprefix("head."): v for k, v in kept.items() if k.startswith("head.")}
    head.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    with torch.no_grad():
        np.testing.assert_allclose(head(h).sigmoid(), table, rtol=1e-3, atol=1e-5)
    assert (len(kept) == len(weights)) == bool(frozen_views), "of a frozen network the head alone"


def test_a_packed_run_has_its_predictions(archive, tmp_path):
    runs = [train(asked(archive, loss), progress=False) for loss in ("an", "gc")]
    runs.append(train(asked(archive, "chance"), progress=False))
    before, rows = [run.predictions for run in runs[:2]], collect()
    pack("a", [run.run_id for run in runs])
    again = [Run.find(run.run_id) for run in runs]
    for run, table in zip(again, before, strict=False):
        assert run.pack and not (run.folder / "predictions.parquet").exists()
        assert run.predictions.equals(table)
    with pytest.raises(FileNotFoundError, match=r"predictions\.parquet"):
        _ = again[2].predictions
    assert collect().equals(rows)
    unpack([runs[0].run_id])
    assert (runs[0].folder / "predictions.parquet").is_file()


def test_a_difference_between_two_runs_has_their_scores(archive):
    a, b = (train(asked(archive, loss), progress=False) for loss in ("an", "gc"))
    table = compare(a, b)
    for name, value in a.result["scores"].items():
        row = table.loc[f"test: {name}"]
        assert row["difference"] == b.result["scores"][name] - value
    assert estimate([a.config])["basis"].item().startswith("median of 2")
