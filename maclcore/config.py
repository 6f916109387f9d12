"""One frozen dataclass says what a run is; four profiles say how large."""

import difflib
import hashlib
import json
import math
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

Param = bool | int | float | str
SUFFIX = ".safetensors"  # of a file of weights, which may be left out

#: archives that the package draws itself
EMBEDDED = ("synthetic", "synthetic_5", "synthetic_60", "synthetic_sentinel")
#: archives whose images may be shown to anyone, and the credit that goes with them
PUBLIC_DOMAIN = {
    "ucm_multilabel": "Images: UC Merced Land Use (Yang and Newsam, 2010), from the USGS National "
    "Map Urban Area Imagery, in the public domain."
}
#: what training may see of the labels; else a table of them (`maclcore.data.weak`)
LABELS = ("complete", "random", "dominant")
MAPPINGS = ("loss_params", "method_params", "completion_params")

#: What each profile changes in the paper's setting, which is the default of every field.
PROFILES: dict[str, dict[str, Any]] = {
    # seconds on two cores, for the embedded archive: shows that everything runs, ranks nothing
    "smoke": {
        "archive": "synthetic",
        "image_size": 32,  # (paper: not stated; the archive is drawn at any size)
        "weights": "none",  # nothing to download
        "epochs": 3,  # (paper: 100)
        "schedule": "cosine",  # restarts every 15 epochs do not fit into 3
    },
    # minutes on two cores: the protocol `small` of the results
    "quick": {
        "image_size": 64,  # (paper: not stated)
        "epochs": 25,  # (paper: 100)
        "schedule": "cosine",  # a restart at epoch 15 of 25 would end in mid-cycle
    },
    # seconds a run once the features are stored: a protocol of its own, in the paper's setting
    "frozen": {"frozen_views": 10},
    "paper": {},
}


@dataclass(frozen=True)
class Config:
    """What is asked of a run, by name. Defaults are the paper's (§4.2).

    What the names stand for, images, labels and weights, is `maclcore.store.identity`'s. Numbers of
    NumPy and paths are taken for what they are. An unknown field or profile, or a value that a
    field cannot have, raises a TypeError or ValueError that names the field, or the nearest one.
    """

    #: synthetic, synthetic_sentinel, a name that `data --help` lists, or a folder of your own
    archive: str = "synthetic"
    #: side of the square images in pixels (paper: not stated)
    image_size: int = 224
    #: of an archive of many bands those to take, by name with commas or a sensor's name, such as
    #: "B4,B3,B2", "s2" or "s1"; "": all that it has
    bands: str = ""
    #: random: 70/10/20 | official: the test part that the archive's authors chose, where the names
    #: of its images tell it, and a random validation part of the rest
    split: Literal["random", "official"] = "random"
    #: which of the random splits, or of the random validation parts
    split_seed: int = 0
    #: of the training part of that split the share that training sees, drawn from the split's seed:
    #: 0.5's images are among 0.7's; validation and test stay
    train_share: float = 1.0
    #: which labels training sees: complete: all | random, dominant: one of each image's, at random
    #: from `seed`, or the one that covers most of it | a CSV file, or its name in the archive's
    #: folder (`maclcore.data.weak`). The test split is measured on the archive's labels always
    labels: str = "complete"
    #: weak: validation images have labels as training images do | complete: the archive's
    validation_labels: Literal["weak", "complete"] = "weak"
    #: none | a loss for weak labels: a classifier that it trains completes the labels of the
    #: training images first (`maclcore.training.completion`)
    completion: str = "none"
    #: settings of that training, such as {"labels_per_image": 5}
    completion_params: Mapping[str, Param] = field(default_factory=dict)
    #: a name in LOSSES, or a reference row: chance | frozen | oracle
    loss: str = "macl"
    #: overrides of the loss's own defaults, such as {"alpha": 0.5}
    loss_params: Mapping[str, Param] = field(default_factory=dict)
    #: overrides of the settings of the loss's way of training, such as {"mask_ratio": 0.5}
    method_params: Mapping[str, Param] = field(default_factory=dict)
    #: any classification model of torchvision, or of timm, as timm/vit_small_patch14_dinov2
    backbone: str = "resnet18"
    #: imagenet | none | a safetensors file, or its name in the data folder's weights/
    weights: str = "imagenet"
    #: of a network for other than three channels: random, or inflated from that of its weights
    first_layer: Literal["random", "inflated"] = "random"
    #: D; with hidden layer as wide as the features (paper: "two-layer projection head")
    embedding_dim: int = 256
    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-3
    #: L2 added to the gradient, as Adam does it, not decoupled
    weight_decay: float = 5e-4
    #: restart: cosine over 15 epochs, each restart at 0.8 of the last peak | step: x 0.8 every
    #: 15 epochs | cosine: one descent. The paper: "a CosineAnnealingLR scheduler lowered the
    #: learning rate by 20% every 15 epochs", which the first two read differently.
    schedule: Literal["restart", "step", "cosine"] = "restart"
    #: largest gradient norm
    clip_norm: float = 1.0
    #: order of the training images; label-aware sampling is named by the paper, not described
    sampler: Literal["shuffle", "label_aware"] = "shuffle"
    #: 2: a batch holds two augmented views of each image (paper: not stated)
    views: int = 1
    #: keys of a momentum encoder that a loss is given beside the batch; 0: no such encoder
    queue: int = 0
    #: m of that encoder, θ_key = m θ_key + (1 - m) θ (MulSupCon's released value)
    momentum: float = 0.999
    #: images through the network at a time (gradient caching): memory for this many, gradient of
    #: the whole batch, but BatchNorm sees only this many at once; None: the whole batch
    micro_batch: int | None = None
    #: 0: all of the network trains. Else the head alone, on the backbone's features of so many
    #: augmented views of each image, which epochs take by turns (`maclcore.training.inputs`)
    frozen_views: int = 0
    #: auto: bf16 autocast where the hardware multiplies bf16, else fp32
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    #: initial weights, order and augmentation
    seed: int = 0
    #: a name for the values above; smoke results never pass for results
    profile: Literal["smoke", "quick", "frozen", "paper"] = "paper"

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _plain(f.name, f.type, getattr(self, f.name)))
        for name in ("image_size", "embedding_dim", "batch_size", "lr", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("epochs", "weight_decay", "queue", "frozen_views", "seed", "split_seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.views not in (1, 2):
            raise ValueError(f"views must be 1 or 2, got {self.views}")
        if self.queue and self.views == 2:
            raise ValueError(
                "queue and views=2 exclude each other: the keys of a queue are the second view"
            )
        if 0 < self.frozen_views < 2 and (self.queue or self.views == 2):
            raise ValueError("two views of an image need frozen_views of at least 2, got 1")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {self.momentum}")
        if not 0 < self.train_share <= 1:
            raise ValueError(f"train_share must be above 0 and at most 1, got {self.train_share}")
        if self.micro_batch is not None and not self.micro_batch > 0:
            raise ValueError(f"micro_batch must be positive or None, got {self.micro_batch}")
        if self.labels not in LABELS and not self.labels.lower().endswith(".csv"):
            raise ValueError(
                f"labels must be {', '.join(LABELS)} or a file that ends in .csv, got "
                f"{self.labels!r}{nearest(self.labels, LABELS)}"
            )
        if self.completion != "none" and self.labels == "complete":
            raise ValueError(
                f"completion={self.completion!r} completes weak labels, but labels is 'complete': "
                "let it be random, dominant or a table, or set completion='none'"
            )
        if self.completion_params and self.completion == "none":
            raise ValueError("completion_params are settings of a completion, which is 'none'")
        words = ("first_layer", "schedule", "sampler", "precision", "profile")
        for name in (*words, "split", "validation_labels"):
            choices = get_args(self.__dataclass_fields__[name].type)
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )

    @classmethod
    def from_profile(cls, profile: str, **overrides: Any) -> "Config":
        """The profile's values, then `overrides`."""
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}{nearest(profile, PROFILES)}")
        return cls.from_dict({**PROFILES[profile], "profile": profile, **overrides})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """From a stored configuration; a field that does not exist is an error."""
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise TypeError(f"unknown configuration field {name!r}{nearest(name, known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), **{name: dict(getattr(self, name)) for name in MAPPINGS}}

    def but(self, **changes: Any) -> "Config":
        """A copy with some fields changed."""
        unknown = set(changes) - {f.name for f in fields(self)}
        if unknown:
            return self.from_dict({**self.to_dict(), **changes})
        return replace(self, **changes)

    @property
    def run_id(self) -> str:
        """Readable, and unique to the configuration: equal ids mean equal configurations.

        Of a folder or a file the name alone counts, wherever it lies and however its path was
        typed: which of that name it is, `maclcore.store.identity` tells by its content.
        """
        return self._id(_name(self.archive), _name(self.weights).removesuffix(SUFFIX))

    @property
    def former_ids(self) -> list[str]:
        """What earlier versions called this configuration: they took paths as they were typed, and
        told 0 from 0.0."""
        whole: dict[str, Any] = {
            k: int(v) for k, v in self.to_dict().items() if type(v) is float and v.is_integer()
        }
        paths = product({self.archive, _name(self.archive)}, {self.weights, _name(self.weights)})
        ids = {self._id(*path, **numbers) for path in paths for numbers in ({}, whole)}
        return sorted(ids - {self.run_id})

    def _id(self, archive: str, weights: str, **values: Any) -> str:
        # only what differs from the defaults, so that a field added later, with a default that
        # keeps the old behaviour, leaves every stored id as it is
        values = {**self.to_dict(), **values, "archive": archive, "weights": weights}
        values["labels"] = _name(self.labels)
        default = {f.name: f.default for f in fields(self)} | dict.fromkeys(MAPPINGS, {})
        chosen = {k: v for k, v in values.items() if v != default[k]}
        digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in _name(archive))[:40]
        return f"{self.profile}-{name}-{self.image_size}px-{self.loss}-s{self.seed}-{digest}"

    def __hash__(self) -> int:
        return hash(self.run_id)


def _plain(name: str, kind: Any, value: Any) -> Any:
    """`value` as the plain type of a field: an int of NumPy is an int, a Path a word, 0 is 0.0."""
    if name in MAPPINGS:
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a mapping, such as {{'alpha': 0.5}}, got {value!r}")
        # 1 and 1.0 are one configuration, and have one run_id
        return {key: _parameter(f"{name}[{key!r}]", value[key]) for key in sorted(value)}
    if kind is str or not isinstance(kind, type):  # a path, a word of a Literal, or None
        if kind == int | None:
            return None if value is None else _plain(name, int, value)
        if isinstance(value, str | os.PathLike):
            return str(os.fspath(value))
        raise TypeError(f"{name} must be a word, got {value!r}")
    number = _scalar(value)
    try:
        if isinstance(number, bool | str):
            raise TypeError
        return operator.index(number) if kind is int else float(number)
    except (TypeError, ValueError):
        what = "a whole number" if kind is int else "a number"
        raise TypeError(f"{name} must be {what}, got {value!r}") from None


def _parameter(name: str, value: Any) -> Param:
    number = _scalar(value)
    if not isinstance(number, Param) or (isinstance(number, float) and math.isnan(number)):
        raise TypeError(f"{name} must be a number or a word, got {value!r}")
    return float(number) if type(number) is int else number


def _scalar(value: Any) -> Any:
    """A number of NumPy, pandas or torch as Python's own; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _name(path: str) -> str:
    """The last part of a path; a name as it is."""
    return Path(os.path.abspath(Path(path).expanduser())).name if is_path(path) else path


def is_path(text: str) -> bool:
    """Whether a word names a place, such as ./d, and not an archive or weights by name."""
    return "/" in text or os.sep in text or text in (".", "..", "~")


def nearest(name: str, known: Any) -> str:
    """'; did you mean …?' for an error message, or the list of what is known."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
