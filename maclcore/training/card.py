"""The model card beside trained weights: what they are, of what data, how good, and for what not.

Its head is that of a model card on a hub, so that the folder of a run can be uploaded as it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from maclcore.config import EMBEDDED, Config
from maclcore.data.relabelled import reader_of
from maclcore.evaluation.reference import chance, oracle
from maclcore.losses import method_label

CARD = "README.md"
#: test images up to which chance and oracle are computed for the card: a second or less
FEW = 1000

TEXT = """---
library_name: maclcore
license: other
license_name: that-of-the-images
tags: [remote-sensing, multi-label, image-retrieval, image-feature-extraction]
---
# {run_id}

{what}

    python -m maclcore search {run_id} photo.jpg
    python -m maclcore evaluate {run_id}

## Data

{data}

## How good

Of {queries} test images, each the query once and ranked against the others by cosine; percent.

{metrics}
{scores}
## Limits

{limits}

## Licence

The code is MIT. The weights are made from the images, and their use is bound by these: {licence}.

## Provenance

{provenance}
"""


def card(run_id: str, config: Config, y_test: np.ndarray, result: Mapping[str, Any]) -> str:
    """The card, in Markdown, of a run with this configuration and `result.json`.

    y_test: labels (Q, L) of the test images, of which chance and oracle are computed if Q <= FEW.
    """
    reader = reader_of(config.archive)
    drawn = config.archive in EMBEDDED
    licence = "none, they are drawn" if drawn else "not known here"
    return TEXT.format(
        run_id=run_id,
        what=_what(config, result),
        data=_data(config, result),
        queries=result["queries"],
        metrics=_metrics(y_test, result["metrics"]),
        scores=_scores(result),
        limits=_limits(config),
        licence=reader.licence if reader else licence,
        provenance=_provenance(result),
    )


def _what(config: Config, result: Mapping[str, Any]) -> str:
    head = ", of which only the head was trained" if config.frozen_views else ""
    settings = ", ".join(f"{name} {value}" for name, value in result["loss"].items())
    trained = f"{config.epochs} epochs at {config.image_size} px"
    return (
        f"A {config.backbone}{head}, trained with {method_label(config.loss)}"
        f"{f' ({settings})' if settings else ''} for {trained} from the weights "
        f"`{config.weights}`, seed {config.seed}. Images with like label sets get like vectors of "
        f"{config.embedding_dim} numbers. `weights.safetensors` has the weights, `config.json` all "
        "settings."
    )


def _data(config: Config, result: Mapping[str, Any]) -> str:
    archive, reader = result["archive"], reader_of(config.archive)
    said = [
        f"{archive['title']}, fingerprint `{archive['fingerprint']}`; {archive['split']} images to "
        f"train, validate and test ({config.split} split {config.split_seed})."
    ]
    if config.train_share < 1:
        said.append(f"Of the split's training images it saw {config.train_share:.0%}.")
    if config.labels != "complete":
        said.append(f"Of the training labels were known: {config.labels}.")
    if reader:
        said += [f"From {reader.page}. Please cite {reader.cite}." if reader.cite else ""]
    return " ".join([*said, archive["footnote"]]).strip()


def _metrics(y_test: np.ndarray, metrics: Mapping[str, float]) -> str:
    if len(y_test) <= FEW:
        columns = {"chance": chance(y_test).summary(), "this": metrics}
        columns["oracle"] = oracle(y_test).summary()
        after = "Chance is a random ranking, oracle one by the labels themselves."
    else:
        columns = {"this": metrics}
        after = "Chance and oracle: `python -m maclcore evaluate --labels-only labels.csv`."
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in metrics:
        values = " | ".join(f"{100 * column[name]:.1f}" for column in columns.values())
        lines.append(f"| `{name}` | {values} |")
    return "\n".join([*lines, "", after])


def _scores(result: Mapping[str, Any]) -> str:
    """Of a training that tells labels, how well."""
    told = [f"{name} {100 * value:.1f}" for name, value in result.get("scores", {}).items()]
    return f"\nIt also tells labels: {', '.join(told)}.\n" if told else ""


def _limits(config: Config) -> str:
    said = [
        "One training run: another seed gives other numbers (`python -m maclcore runs` has those "
        "that are stored). Measured on images of the same archive, and nothing is known of others. "
        "Rare labels are found less well than frequent ones."
    ]
    if config.profile != "paper":
        said.append(
            f"The profile `{config.profile}` is shorter or smaller than the paper's training."
        )
    if config.archive in EMBEDDED:
        said.append("The images are drawn: these weights are of no use for photographs.")
    return " ".join(said)


def _provenance(result: Mapping[str, Any]) -> str:
    ran = {**result["environment"], "stored": result["time"], "seconds": result["seconds"]}
    made = [f"- {name}: {value}" for name, value in ran.items() if value not in ("", None)]
    return "\n".join([*made, *(f"- {k} `{v}`" for k, v in result["identity"].items())])
