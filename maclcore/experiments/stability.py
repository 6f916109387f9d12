"""Is the choice of a loss stable? The same losses on other sizes, less data and other labels.

`winner_stability` changes one condition at a time of the setting in which the losses were chosen,
and nothing of the losses: what was best there must be best again, or the choice was of the setting.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from maclcore.config import Config
from maclcore.data.relabelled import RELABELLED
from maclcore.experiments.winner import CHOSEN, PROPOSED, run_of

#: the losses that are compared, each with its parameters of `CHOSEN`
NAMES = ("mulsupcon", "lproto", "lmsc", "oml", "macl", "wg_macl", *PROPOSED.values())

#: where they were chosen: 64 px, all training images
SETTING: Mapping[str, Any] = {"image_size": 64}
#: and what is changed of it, of an archive's own labels
CONDITIONS: tuple[Mapping[str, Any], ...] = (
    {"image_size": 32},
    {"image_size": 96},
    {"image_size": 128},
    {"train_share": 0.5},
)


def winner_stability(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Is the best loss another one at 32, 96 or 128 px, or on half of the training images?

    32 runs a seed. Of an archive under other labels (`maclcore.data.relabelled`: one label an
    image, 5 labels, 60) the labels are what is changed: at 64 px, with all images, 8 runs a seed.
    """
    changes = [{}] if archive in RELABELLED else CONDITIONS
    return [
        run_of(
            profile, archive, seed, loss, CHOSEN.get(loss, {}), {**SETTING, **change, **overrides}
        )
        for seed in seeds
        for change in changes
        for loss in NAMES
    ]
