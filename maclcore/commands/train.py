"""`train`: one run."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from maclcore.commands.shared import print_metrics, use
from maclcore.config import PROFILES, Config


def train(
    config: Config, *, device: str | None = None, quiet: bool = False, tensorboard: bool = False
) -> None:
    """Train one configuration, evaluate it on the test split and store the run.

    The same command resumes an interrupted run, and shows a finished one of the same images, labels
    and weights; of others it is another run.
    Example: python -m maclcore train --profile quick --archive dlrsd --loss macl
    --loss-params temperature 0.3
    Example: torchrun --nproc-per-node 4 -m maclcore train --archive dlrsd
    Example: python -m maclcore train --profile quick --archive dlrsd --loss softcon
    --loss-params soft_weight 10
    Example: python -m maclcore train --archive synthetic_sentinel --bands s2 --loss softcon
    --backbone timm/vit_tiny_patch16_224:depth=6,patch_size=4 --method-params mask_ratio 0.5
    Example: python -m maclcore train --archive dlrsd --labels random --loss gc --frozen-views 4
    Example: python -m maclcore train --archive ~/photos --labels labels.completed.csv
    Example: python -m maclcore train --archive ml_aid --split official --labels random
    --completion gc --completion-params labels_per_image 5

    Args:
        config: the run; --profile sets the defaults of the other fields.
        device: cpu, cuda, cuda:1, …; default: a GPU if there is one.
        quiet: no progress bar.
        tensorboard: also write the log as events into the run's folder, for `tensorboard --logdir`;
            MACL_TENSORBOARD=1 does the same for any command.
    """
    from maclcore.training import train as run_training

    if tensorboard:
        os.environ["MACL_TENSORBOARD"] = "1"
    run = run_training(config, progress=not quiet, device=device)
    if int(os.environ.get("RANK", 0)):  # one of several processes says it for all
        return
    if quiet and not run.computed:  # else it has been said
        print(run.provenance, file=sys.stderr)
    if scores := run.result.get("scores"):  # of a training that tells labels
        print_metrics({config.loss: scores})
    print_metrics({config.loss: run.metrics, "  backbone": run.result["metrics_backbone"]})
    print(run.run_id)


def train_with_profile(arguments: list[str]) -> Callable[..., None]:
    """`train` whose defaults are those of the profile that the command line names."""
    profile = "smoke"
    for word, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--profile" and value in PROFILES:
            profile = value
        elif word.startswith("--profile="):
            profile = word.split("=", 1)[1]
    default = Config.from_profile(profile)

    def train_verb(
        config: Annotated[Config, tyro.conf.arg(name="")] = default,
        *,
        data: Path | None = None,
        device: str | None = None,
        quiet: bool = False,
        tensorboard: bool = False,
    ) -> None:
        use(data)
        train(config, device=device, quiet=quiet, tensorboard=tensorboard)

    train_verb.__doc__ = train.__doc__
    return train_verb
