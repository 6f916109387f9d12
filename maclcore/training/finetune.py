"""Fine-tuning: a linear layer on a network's features, and all of it trains to tell the labels."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from maclcore.data.stream import Images
from maclcore.evaluation.classification import classification_scores, is_single_label
from maclcore.evaluation.retrieval import evaluate
from maclcore.models.network import RetrievalNet
from maclcore.store.identity import Source
from maclcore.training.inputs import Inputs, Pixels
from maclcore.training.loop import Method, Outcome


class Classifier(nn.Module):
    """Images to a logit a label (N, L), float32: a network's features, then a linear layer."""

    def __init__(self, network: RetrievalNet, width: int, labels: int) -> None:
        super().__init__()
        network.head = nn.Identity()  # its embeddings are not asked for
        self.network, self.layer = network, nn.Linear(width, labels)

    def features(self, images: Tensor) -> Tensor:
        return self.network.features(images)

    def project(self, features: Tensor) -> Tensor:
        return self.layer(features).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.project(self.features(images))


class Classification(Method):
    """Training to tell the labels of images, of which each is seen once an epoch."""

    headline = "macro mAP"
    model: nn.Module  #: images to logits (N, L)
    inputs: Inputs
    rows: Tensor  #: (n,) positions of the training images in the archive

    def begin(self, epoch: int) -> None:
        self.varied = self.inputs.of_epoch(epoch, 1)

    def ahead(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        own = [self.rows[batch] for batch in batches]
        for batch, _ in zip(batches, self.inputs.ahead(own), strict=True):
            yield batch


def labelled(source: Source) -> Source:
    """`source` without the training images of which no label is known."""
    train = source.split.train
    known = source.known[train].any(axis=1)
    return replace(source, split=source.split._replace(train=train[known]))


class FineTune(Classification):
    """All of `network` under cross-entropy: binary, the mean over cells (image, label), or over the
    labels where each image of the archive has one.

    Epochs, learning rate, batches and seed, which is that of the new layer, too, are those of
    `source.config`. Training images without a label, of which none is known, are left out.
    """

    def __init__(self, source: Source, network: RetrievalNet, on: torch.device) -> None:
        archive = source.archive
        labels = torch.from_numpy(source.known)
        self.source, self.on = labelled(source), on
        train = self.source.split.train
        self.rows, self.y_train = torch.from_numpy(train), source.known[train]
        self.single = is_single_label(archive.labels)
        self.y = (labels.int().argmax(dim=1) if self.single else labels.float()).to(on)
        self.cost = cross_entropy if self.single else binary_cross_entropy_with_logits
        with torch.inference_mode():
            image = torch.from_numpy(archive.images[:1] / np.float32(255))
            width = network.eval().features(image).shape[1]
        torch.manual_seed(source.config.seed)
        model = Classifier(network, width, labels.shape[1])
        self.model = model.to(on, memory_format=torch.channels_last)
        self.inputs = Pixels(Images(archive.images, on, keep=True), self.source, on)
        self.modules = {"model": self.model}

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        index = self.rows[batch]
        logits = self.inputs.through(self.model, index, self.varied[batch])
        return {"loss": self.cost(logits, self.y[index.to(self.on)])}

    def validate(self) -> dict[str, float]:
        index = self.source.split.validation
        predicted, y = self.predict(index)[0], self.source.known[index]
        return classification_scores(predicted, y, single_label=self.single)

    def outcome(self) -> Outcome:
        """Probabilities (Q, L) of the test images' labels, and how well its features retrieve."""
        index = self.source.split.test
        predicted, h = self.predict(index)
        retrieval = evaluate(h, self.source.archive.labels[index])
        return Outcome(retrieval, tensors={"predictions": {"predicted": predicted}})

    def predict(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Probabilities (Q, L) of the images' labels, and their features (Q, F)."""
        logits, h = self.inputs.embed(self.model, index)
        return logits.softmax(dim=1) if self.single else logits.sigmoid(), h
