"""AdaGC's question and ours, as named lists of configurations: what one label an image is worth.

No setting here was chosen by a result: λ, decays and trigger are the defaults of
`maclcore.training.weak`, and how many labels an image has is what is published of the archives.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from maclcore.config import Config, Param
from maclcore.losses import WEAK_LOSSES

#: labels an image, by the published counts of the archives, to a tenth: what a user may know of an
#: archive without its labels
LABELS_PER_IMAGE = {
    "dlrsd": 3.4, "ucm_multilabel": 3.3, "ml_aid": 5.2, "whdld": 4.6, "synthetic": 3.4,
}  # fmt: skip

#: losses whose whole network trains, too: the ceiling, the floor, and what AdaGC is held against
WHOLE = ("full", "an", "epr", "role", "gc")

#: epochs of a head at the profile `smoke`
SMOKE = 10

#: what of calibration is left out, or is otherwise, one at a time
CALIBRATIONS: tuple[Mapping[str, Param], ...] = (
    {"teacher_decay": 0.0},
    {"memory_decay": 0.0},
    {"teacher_decay": 0.0, "memory_decay": 0.0},
    {"mixup": 0.2},
    {"mixup": 1.0},
    *({"trigger": epoch} for epoch in (1, 3, 8, 15, 30)),
    *({"trigger": detector} for detector in ("plateau", "slope")),
    *({"weight": weight} for weight in (1.0, 2.0, 3.0, 5.0, 8.0)),
)

#: what completes labels before retrieval is trained on them
COMPLETIONS = ("an", "epr", "gc")
#: and what is trained on them
RETRIEVAL: tuple[tuple[str, Mapping[str, Param]], ...] = (
    ("mulsupcon", {}),
    ("lproto", {}),
    ("macl", {"alpha": -0.5, "temperature": 0.3}),
)


def weak_labels(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """One label an image, drawn at random: every loss of `WEAK_LOSSES`, and complete labels.

    The head alone trains. A seed has its own split and its own draw of labels. 17 runs a seed, and
    two fewer where it is not known how many labels an image has.
    """
    return [
        _one_label(profile, archive, seed, loss, _head_only(profile) | overrides)
        for seed in seeds
        for loss in _possible(archive, WEAK_LOSSES)
    ]


def weak_network(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """`weak_labels` where all of the network trains, for five losses. 5 runs a seed."""
    return [
        _one_label(profile, archive, seed, loss, overrides)
        for seed in seeds
        for loss in _possible(archive, WHOLE)
    ]


def calibration(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Which part of gradient calibration does what: slow means, mixup, trigger and λ, one at a
    time, beside the whole of it. The head alone trains. 18 runs a seed."""
    settings = _head_only(profile) | overrides
    epochs = Config.from_profile(profile, **settings).epochs
    return [
        _one_label(profile, archive, seed, "gc", settings, changed)
        for seed in seeds
        for changed in ({}, *CALIBRATIONS)
        if changed.get("trigger") not in range(epochs, 1000)  # it would begin after the end
    ]


def chain(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Retrieval from one label an image: trained on it alone, on labels completed by assumed
    negatives, by EPR or by calibration, and on all labels; between chance, frozen and oracle.

    The head alone trains. 18 runs a seed, and three fewer where it is not known how many labels
    an image has.
    """
    settings = _head_only(profile) | overrides
    rows: list[dict[str, Any]] = [{"loss": loss} for loss in ("chance", "frozen", "oracle")]
    for given in ({"labels": "complete"}, *_given(profile, archive)):
        rows += [{"loss": loss, "loss_params": params, **given} for loss, params in RETRIEVAL]
    return [
        Config.from_profile(
            profile, archive=archive, seed=seed, split_seed=seed, **{**settings, **row}
        )
        for seed in seeds
        for row in rows
    ]


def _given(profile: str, archive: str) -> Iterable[dict[str, Any]]:
    """The one label, and what each completion makes of it."""
    yield {"labels": "random"}
    epochs = {"epochs": SMOKE} if profile == "smoke" else {}
    for name in _possible(archive, COMPLETIONS):
        params = {**_count(archive), **epochs, **_early(profile, name, SMOKE)}
        yield {"labels": "random", "completion": name, "completion_params": params}


def _one_label(
    profile: str,
    archive: str,
    seed: int,
    loss: str,
    settings: Mapping[str, Any],
    changed: Mapping[str, Param] = MappingProxyType({}),
) -> Config:
    epochs = Config.from_profile(profile, **settings).epochs
    return Config.from_profile(
        profile,
        archive=archive,
        loss=loss,
        labels="complete" if loss == "full" else "random",
        method_params={**_count(archive), **_early(profile, loss, epochs), **changed},
        seed=seed,
        split_seed=seed,
        **settings,
    )


def _head_only(profile: str) -> dict[str, Any]:
    """A head on the features of four views and of the images as they are, along one cosine.

    (Ours: nothing of the paper's schedule is known. 160 px because the images of ML-AID at hand
    have 150; three epochs of the profile `smoke` would end before a second stage.)
    """
    size = {"epochs": SMOKE} if profile == "smoke" else {"image_size": 160}
    return {"frozen_views": 4, "schedule": "cosine", **size}


def _early(profile: str, loss: str, epochs: int) -> dict[str, Param]:
    """The epoch of the fallback as trigger, where so few epochs leave a detector nothing to see."""
    calibrates = profile == "smoke" and loss == "gc"
    return {"trigger": max(int(0.4 * epochs), 1)} if calibrates else {}


def _count(archive: str) -> dict[str, Param]:
    name = archive.rstrip("/").rsplit("/")[-1]
    return {"labels_per_image": LABELS_PER_IMAGE[name]} if name in LABELS_PER_IMAGE else {}


def _possible(archive: str, losses: Iterable[str]) -> list[str]:
    """Those that need not know how many labels an image has, or do."""
    known = bool(_count(archive))
    return [name for name in losses if known or not WEAK_LOSSES[name].needs_labels_per_image]
