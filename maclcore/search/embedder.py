"""What turns pixels into vectors, and is known again: a run's network, or a backbone alone."""

import hashlib
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maclcore.data.catalogue import RGB, Catalogue
from maclcore.data.scenes import decode
from maclcore.data.stretch import Stretch
from maclcore.evaluation.embedding import embed
from maclcore.models.network import RetrievalNet
from maclcore.models.weights import weights_name
from maclcore.store import Run
from maclcore.training import load_model

GIVEN = "given"  # in place of a layer, of vectors that somebody else has made
BATCH = 64  # images a forward pass, always: another number may give other last bits


@dataclass(frozen=True)
class Made:
    """What made the vectors of an index: two that differ in any of these are not comparable.

    `network` is a hash of all its weights; `vector` says which layer gives the vectors, "head" (the
    embedding that was trained) or "features" (what the backbone pools). Of vectors that were GIVEN,
    `network` is what their owner calls their maker.
    """

    run: str  #: a run's id; "" of a backbone alone
    backbone: str
    weights: str  #: what it started from
    network: str
    vector: str
    image_size: int
    bands: tuple[str, ...]
    dim: int
    stretch: Stretch | None = None  #: of images of more than 8 bits which values are shown

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Made":
        """From its JSON."""
        stretch = told.get("stretch")
        told = {**told, "bands": tuple(told["bands"]), "stretch": stretch and Stretch.of(stretch)}
        return cls(**told)


class Embedder:
    """A network in evaluation mode and what it is known by (`made`)."""

    def __init__(self, model: RetrievalNet, vector: str, **known: Any) -> None:
        self.model, self.vector = model.eval(), vector
        size, channels = known["image_size"], len(known["bands"])
        dim = self(np.zeros((1, channels, size, size), dtype=np.uint8)).shape[1]
        self.made = Made(network=_digest(model, vector), vector=vector, dim=dim, **known)

    @classmethod
    def of_run(cls, run: Run) -> "Embedder":
        """A finished run's network with its head; errors as of `load_model`."""
        of, bands = run.config, run.result["archive"].get("bands")
        return cls(
            *(load_model(run), "head"),
            run=run.run_id,
            backbone=of.backbone,
            weights=of.weights,
            image_size=of.image_size,
            bands=tuple(bands.split(",")) if bands else RGB,
        )

    @classmethod
    def of_backbone(
        cls, backbone: str, weights: str, image_size: int, bands: tuple[str, ...] = RGB
    ) -> "Embedder":
        """A backbone without any training of ours; errors as of `RetrievalNet`."""
        name = weights_name(weights)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of what the weights lack
            model = RetrievalNet(backbone, weights, 8, image_size, len(bands))
        of = {"run": "", "backbone": backbone, "weights": name, "image_size": image_size}
        return cls(model, "features", **of, bands=bands)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Unit vectors (N, D) float32 of images (N, C, S, S) uint8.

        In batches of BATCH images, the last one filled up, so that the vector of an image does not
        depend on how many there are.
        """
        n = len(pixels)
        filled = np.concatenate([pixels, np.zeros((-n % BATCH, *pixels.shape[1:]), np.uint8)])
        z, h = embed(self.model, filled, batch_size=BATCH)
        if self.vector == "features":
            z = torch.nn.functional.normalize(h, dim=1)
        return z[:n].numpy()

    def file(self, file: Any) -> np.ndarray:
        """The vector (D,) of an image file; ValueError, which names it, if it cannot be read."""
        if self.made.bands != RGB:
            raise ValueError(
                f"this index is of {', '.join(self.made.bands)}; an example is an image in red, "
                "green and blue: search by the name of an indexed image"
            )
        return self(decode(Path(file), self.made.image_size, self.made.stretch)[None])[0]

    def shown(self, stretch: Stretch | None) -> "Embedder":
        """This network, for files of which so much is shown."""
        other = copy(self)
        other.made = replace(self.made, stretch=stretch)
        return other

    def check(self, catalogue: Catalogue) -> None:
        """ValueError if the images of an archive have not the bands that the network takes."""
        if catalogue.channels != self.made.bands:
            raise ValueError(
                f"{catalogue.title} is read as {', '.join(catalogue.channels)}, and the network "
                f"takes {', '.join(self.made.bands)}"
            )


def of_made(made: Made) -> Embedder:
    """The network that made an index, found again; ValueError if what is found is another."""
    if made.vector == GIVEN:
        raise ValueError(
            f"the vectors of this index were given ({made.network}), so no image can be embedded "
            "as they were: search by the names of indexed images, or by vectors"
        )
    if made.run:
        embedder = Embedder.of_run(Run.find(made.run))
    else:
        embedder = Embedder.of_backbone(made.backbone, made.weights, made.image_size, made.bands)
    if other := unlike(made, embedder.made):
        raise ValueError(
            f"the index was made by another network than is here now ({other}): bring that one "
            "back, or build the index anew"
        )
    return embedder.shown(made.stretch)


def unlike(there: Made, here: Made) -> str:
    """In what two networks differ, in words; "" if in nothing."""
    old, new = asdict(there), asdict(replace(here, stretch=there.stretch))
    return ", ".join(f"{key} {old[key]}, here {new[key]}" for key in old if old[key] != new[key])


def _digest(model: RetrievalNet, vector: str) -> str:
    """The first 16 digits of the SHA-256 of all weights that a vector depends on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if vector == "features" and name.startswith("head."):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
