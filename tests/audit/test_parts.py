"""Why parts win: what is trained, put side by side, weighed by shares and stored."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from maclcore import LabelStatistics
from maclcore.audit import parts
from maclcore.config import Config
from maclcore.evaluation.relevance import METRICS
from maclcore.evaluation.retrieval import evaluate
from maclcore.experiments.choosing import HALVES, WALKED, parts_of
from maclcore.experiments.winner import CHOSEN, SHORT, WEIGHTS, winner
from maclcore.losses import LOSSES, build_loss
from maclcore.losses.registry import LossModule
from maclcore.models.network import Head
from maclcore.store.identity import identify
from maclcore.training import retrieval, train
from maclcore.training.inputs import frozen_features

Y = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 1, 1], [0, 1, 0]]).bool()
STATS = LabelStatistics.from_labels(Y, ["a", "b", "c"])


def unit(rows=6, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def value(loss, z, prototypes=None):
    """Of an entry that is not registered."""
    module = LossModule(loss, STATS, z.shape[1], dict(loss.defaults))
    if module.prototypes is not None:
        module.prototypes = torch.nn.Parameter(prototypes)
    return module(z, Y).item()


def own(name, z, prototypes):
    """Of a registered loss, with the parameters that it has as a part."""
    args = [prototypes] if LOSSES[name].needs_prototypes else []
    return LOSSES[name].function(z, Y, *args, **parts.params_of(name)).item()


def test_the_front_is_of_a_training_as_winner_has_it():
    wanted = {config.loss: config for config in winner("frozen", "dlrsd", (1,), weights=WEIGHTS)}
    assert parts.config_of("dlrsd", 1).but(loss=WALKED, epochs=100) == wanted[WALKED]


def test_settings_are_those_of_the_loss_that_is_taken_apart():
    assert parts.NAMES == ("graded", "lmsc")
    assert {**parts.WHOLE.defaults, **CHOSEN[HALVES]} == parts.WHOLE.defaults
    assert parts.params_of("graded") != LOSSES["graded"].defaults
    for name in parts.NAMES:
        assert parts.params_of(name) == parts.alone(name).defaults
        module = build_loss(name, STATS, embedding_dim=12, **parts.params_of(name)).double()
        found = value(parts.alone(name), unit(), module.prototypes)
        assert found == pytest.approx(module(unit(), Y).item(), rel=1e-12)


def test_the_sum_is_that_of_the_losses_and_repeated_ones_have_each_slice_s_own():
    z, prototypes = unit(), unit(3, seed=1)
    each = {name: own(name, z, prototypes) for name in parts.NAMES}
    assert value(parts.added(), z, prototypes) == pytest.approx(sum(each.values()), rel=1e-12)
    for name in parts.NAMES:
        total = 0.0
        for part, some in zip(z.split(6, 1), prototypes.split(6, 1), strict=True):
            total += own(name, F.normalize(part, dim=1), some)
            total += 10 * sum((float(row @ row) - 1 / 2) ** 2 for row in part) / len(part)
        assert value(parts.repeated(name), z, prototypes) == pytest.approx(total, rel=1e-9)


def test_no_variant_enters_the_registry():
    before = list(LOSSES)
    for loss in (parts.added(), *map(parts.repeated, parts.NAMES), *map(parts.alone, parts.NAMES)):
        assert loss.function is not LOSSES.get(loss.name)
    assert list(LOSSES) == before


def test_the_cosine_of_the_whole_is_that_of_its_slices_by_their_shares():
    z, names = unit(), parts_of(WALKED)
    lengths = [part.norm(dim=1) for part in z.split(3, dim=1)]
    found, shares = parts.slices(z, names), dict(zip(names, (0.4, 0.3, 0.2, 0.1), strict=True))
    together = torch.cat(
        [length[:, None] * part for length, part in zip(lengths, found.values(), strict=True)], 1
    )
    assert torch.allclose(together, z)
    whole = parts.joined(found, {name: 7 * share for name, share in shares.items()})  # of any sum
    for i in range(6):
        for j in range(6):
            cosine = sum(float(found[name][i] @ found[name][j]) * shares[name] for name in shares)
            assert float(whole[i] @ whole[j]) == pytest.approx(cosine, abs=1e-12)
    alone = parts.joined(found, dict.fromkeys(names, 0.0) | {"hap": 0.4})
    assert torch.allclose(alone, found["hap"])


def test_the_grid_holds_every_share_once():
    names = parts_of(WALKED)
    grid = parts.shares_grid(names, 4)
    assert len(grid) == 35 == len({tuple(shares.values()) for shares in grid})
    for shares in grid:
        assert list(shares) == names and sum(shares.values()) == pytest.approx(1)
        assert all(share >= 0 and (4 * share).is_integer() for share in shares.values())


@pytest.fixture
def source(tiny, archive, monkeypatch):
    class TinyHead(retrieval.RetrievalNet):
        """Whose head makes unit rows of stored features, as the network's own does."""

        def __init__(self, backbone, weights, embedding_dim, *args):
            super().__init__(backbone, weights, embedding_dim, *args)
            self.head = Head(16 * self.channels, embedding_dim)

        def project(self, features):
            return self.head(features)

    monkeypatch.setattr(retrieval, "RetrievalNet", TinyHead)

    def of(**changes):
        config = Config(
            archive=str(archive), image_size=32, weights="none", loss=HALVES,
            embedding_dim=16, batch_size=16, epochs=2, frozen_views=2, split_seed=3,
        )  # fmt: skip
        return identify(config.but(**changes))

    return of


def test_a_registered_loss_is_trained_to_what_the_store_would_hold(source):
    here = source(loss="hap")
    z = parts.embedded(here, LOSSES["hap"])
    y = here.archive.labels[here.split.test]
    stored = train(here.config, progress=False).metrics
    assert evaluate(z, y).summary() == pytest.approx(stored, abs=1e-12)


def test_a_training_ends_with_its_shares_in_the_last_layer(source):
    """Of the same training, whatever they are, and what is validated has them, too."""
    config = source().config
    equal, uneven = (
        train(config.but(loss_params=params), progress=False)
        for params in ({}, {"graded": 3.0, "lmsc": 1.0})
    )
    loss = build_loss("graded_lmsc", STATS, embedding_dim=16, graded=3.0, lmsc=1.0)
    settled = loss.settled(torch.from_numpy(np.array(equal.embeddings)))
    assert np.allclose(uneven.embeddings, settled, atol=1e-6)
    here = source(loss_params={"graded": 3.0, "lmsc": 1.0})
    model = retrieval.load_model(uneven)
    z, _ = frozen_features(model, here, torch.device("cpu")).embed(model, here.split.validation)
    found = evaluate(z, here.archive.labels[here.split.validation]).summary()
    last = pd.read_csv(uneven.folder / "history.csv").iloc[-1]
    assert found == pytest.approx({name: last[name] for name in METRICS}, abs=1e-6)


def test_each_variant_is_searched_by_what_it_has(source):
    here, asked = source(), []

    def embed(one, loss):
        asked.append((loss.name, one.config.embedding_dim))
        return parts.embedded(one, loss).double()

    found = {name: (config, z) for config, name, z in parts.variants(here, embed)}
    assert list(found) == list(parts.VARIANTS)
    assert asked.count(("graded", 16)) == asked.count(("graded", 8)) == 1 and len(asked) == 8
    for name, (config, z) in found.items():
        assert config.loss == name and config.embedding_dim == 16
        for searched in z.values():
            assert searched.norm(dim=1).numpy() == pytest.approx(1, abs=1e-6)
    wide, apart = found["apart_wide"][1]["whole"], found["apart"][1]
    each = [found[name][1]["whole"] for name in parts.NAMES]
    cosine = sum(w * z @ z.T for w, z in zip(parts.SHARES.values(), each, strict=True))
    assert torch.allclose(wide @ wide.T, cosine, atol=1e-6)
    assert apart["graded"].shape[1] == 8
    assert not torch.equal(apart["lmsc"], found["lmsc"][1]["whole"])


def test_rows_say_what_was_trained_and_the_front_begins_and_ends_in_slices(source):
    here = source()
    trained = {}

    def embed(one, loss):
        trained[loss.name] = one.config
        return parts.embedded(replace(one, config=one.config.but(epochs=2)), loss)

    rows, front = parts.dissected(here), parts.walked(here, embed)
    [config] = trained.values()
    assert config == here.config.but(loss=WALKED, epochs=100)
    assert tuple(rows) == parts.COLUMNS and tuple(front) == parts.FRONT
    assert not rows.duplicated(["variant", "searched by"]).any() and len(front) == 165
    names = parts_of(WALKED)
    own = parts.slices(parts.embedded(here, LOSSES[WALKED]), names)
    y = here.archive.labels[here.split.test]
    for name in names:
        corner = front[front[name] == 1]
        assert len(corner) == 1
        for metric, value in evaluate(own[name], y).summary().items():
            assert corner[metric].item() == pytest.approx(value, abs=1e-6)
    said = Config.from_dict(json.loads(rows["config"].iloc[0]))
    assert (said.loss, said.epochs, said.split_seed) == ("graded", 2, 3)
    assert said.loss_params == parts.params_of("graded") and said.embedding_dim == 16
    assert json.loads(rows["versions"].iloc[0])["torch"] == torch.__version__


def test_measured_splits_are_kept_and_others_added(source, monkeypatch, tmp_path):
    monkeypatch.setattr(parts.paths, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    asked = []

    def rows_of(file, columns):
        def found(source):
            asked.append((file, source.config.archive, source.config.split_seed))
            about = {"archive": source.config.archive, "split_seed": source.config.split_seed}
            return pd.DataFrame([about | dict.fromkeys(METRICS, 0.5)]).reindex(columns=columns)

        return found, columns

    tables = {file: rows_of(file, columns) for file, (_, columns) in parts.TABLES.items()}
    monkeypatch.setattr(parts, "TABLES", tables)
    given = source()
    monkeypatch.setattr(parts, "identify", lambda config: replace(given, config=config))
    assert all(parts.stored(file).empty for file in parts.TABLES)
    parts.measure(["a", "b"], [0])
    parts.measure(["b", "a"], [1, 0])
    for file in parts.TABLES:
        splits = [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
        assert [rest for name, *rest in asked if name == file] == [list(s) for s in splits]
        table = parts.stored(file)
        assert list(zip(table["archive"], table["split_seed"], strict=True)) == splits


def test_what_is_stored_of_a_split_is_all_of_it():
    rows, front = parts.stored("parts.csv"), parts.stored("front.csv")
    splits = {(archive, seed) for archive in parts.ARCHIVES for seed in parts.SEEDS}
    for table in (rows, front):
        assert {*zip(table["archive"], table["split_seed"], strict=True)} == splits
        assert table[list(METRICS)].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert tuple(rows) == parts.COLUMNS and tuple(front) == parts.FRONT
    for _, part in rows.groupby(["archive", "split_seed"]):
        assert list(part["variant"].unique()) == list(parts.VARIANTS)
    for config in rows["config"].unique():
        assert Config.from_dict(json.loads(config)).epochs == SHORT["epochs"]
    assert np.allclose(front[parts_of(WALKED)].sum(axis=1), 1) and len(front) == 165 * len(splits)
