"""What SoftCon and AdaGC say, as far as it can be tested without their archives and tables.

Of their texts abstracts, captions and descriptions could be had, and no table. So it is not their
numbers that are held against runs, but what they say of their parts: by macro mAP where one label
an image was known, and by two columns of retrieval for SoftCon. Which numbers, is our reading.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from maclcore.audit.claims.formulas import small_batch
from maclcore.audit.claims.rules import (
    FORMULA,
    MEDIUM,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    SIM,
    Finding,
    claim,
    from_runs,
)
from maclcore.audit.evidence import Evidence, method
from maclcore.audit.leads import Lead, leads
from maclcore.audit.one_label import REFERENCE
from maclcore.losses import WEAK_LOSSES, lbase, softcon

LABELS = "macro mAP"
RIVALS = tuple(name for name in WEAK_LOSSES if name not in ("gc", "full"))
UNKNOWN = "no table could be had"


def by_archive(
    e: Evidence, experiment: str, name: str, rivals: Sequence[str], *metrics: str
) -> list[Lead]:
    """One an archive that has such runs, and metric, which then names it; of that experiment."""
    rows = e.companions
    if rows.empty:
        return []
    rows = rows[rows["experiment"] == experiment]
    own, others = rows[rows["method"] == name], rows[rows["method"].isin(rivals)]
    titles = own[own["archive"].isin(others["archive"])].groupby("archive")["archive: title"]
    found = []
    for archive, title in titles.first().items():
        for one in leads(rows, archive, name, rivals, metrics):
            known = measured(e, experiment, archive, one) if one.metric == LABELS else one.intervals
            found.append(replace(one, metric=f"{one.metric} ({title})", intervals=known))
    return found


def measured(e: Evidence, experiment: str, archive: str, one: Lead) -> pd.DataFrame:
    """Of `one_label.csv` low and high over seeds and images, in percent points, of those of a
    lead's rivals that were measured with the same seeds and the same result."""
    rows, found = e.one_label, {}
    rows = rows[(rows["experiment"] == experiment) & (rows["archive"] == archive)]
    rows = rows[rows["metric"] == one.metric].set_index("loss")
    for rival, column in one.gaps.items() if one.name == REFERENCE else ():
        seeds = " ".join(map(str, sorted(column.dropna().index)))
        if rival in rows.index and rows.loc[rival, "seeds"] == seeds:
            gap, low, high = -100 * rows.loc[
                rival, ["difference", "difference: high", "difference: low"]
            ].astype(float)
            if abs(gap - column.mean()) < 0.01:
                found[rival] = low, high
    return pd.DataFrame.from_dict(found, orient="index", columns=["low", "high"], dtype=float)


@claim("softcon-single-label", "SoftCon, Fig. 3")
def single_label(e: Evidence) -> Finding:
    """With one label an image SoftCon's soft similarities turn into binary scores, and it becomes
    multi-positive supervised contrastive learning."""
    z, y, _ = small_batch(0)
    y = torch.eye(6, dtype=torch.bool)[y.double().argmax(dim=1)]
    keys = z.flip(1)
    views = {"keys": keys, "key_labels": y}
    off = {form: softcon(z, y, form=form, soft_weight=0.0, **views) for form in FORMS}
    soft = {form: softcon(z, y, form=form, soft_weight=1.0, **views) - off[form] for form in FORMS}
    target = lbase(z, y, temperature=1.0, **views)
    gap = {form: abs(float(value - target)) for form, value in soft.items()}
    ours = ", ".join(f"{form} form {value:.1g}" for form, value in gap.items())
    why = (
        "The soft part against the supervised contrast of L_Base at the same temperature, random "
        "unit rows. Scores are 0 or 1. Which loss they enter is not stated: as targets of a "
        "softmax it is that contrast, as targets of a sigmoid, pair by pair, it is not."
    )
    verdict = REPRODUCED if gap["softmax"] < 1e-6 else NOT_REPRODUCED
    number = f"{gap['softmax']:.0e} apart"
    return Finding(
        verdict, "Fig. 3 (c)", f"difference: {ours}", why, number=number, setting=FORMULA
    )


FORMS = ("softmax", "sigmoid")


@claim("softcon-soft-part", "SoftCon, Abstract")
def soft_part(e: Evidence) -> Finding:
    """Soft targets from label sets help beside plain contrast: they resolve a too strict matching
    of positives in complex scenes."""
    read = (method("softcon"), method("softcon", average="candidates"))
    readings = [by_archive(e, "soft_weight", name, ["infonce"], SIM, MEDIUM) for name in read]
    found = from_runs("weight 0.1, as others pass it on", readings)
    said = "Read as: above the contrast alone in retrieval by label sets. "
    return found._replace(why=said + found.why)


@claim("softcon-transfer", "SoftCon, Abstract")
def transfer(e: Evidence) -> Finding:
    """SoftCon's models are better than most in 10 of 11 downstream tasks."""
    why = "Of ResNet-50 and vision transformers trained on 780,371 images; neither is at hand."
    return Finding(NOT_TESTABLE, "10 of 11 tasks", "", why, number="10 of 11 tasks")


@claim("adagc-best", "AdaGC, Key features")
def best(e: Evidence) -> Finding:
    """Calibration makes labels from one an image more complete than other methods do."""
    found = from_runs(UNKNOWN, [by_archive(e, "weak_labels", "gc", RIVALS, LABELS)])
    said = f"Read as: macro mAP above that of each of {len(RIVALS)} losses, only the head trained. "
    return found._replace(why=said + found.why)


@claim("adagc-whole-network", "AdaGC, Key features")
def whole_network(e: Evidence) -> Finding:
    """The same where the whole network trains."""
    rivals = ("an", "epr", "role")
    found = from_runs(UNKNOWN, [by_archive(e, "weak_network", "gc", rivals, LABELS)])
    said = "Against AN, EPR and ROLE. "
    return found._replace(why=said + found.why)


@claim("adagc-two-averages", "AdaGC, Framework")
def two_averages(e: Evidence) -> Finding:
    """Both averages, of weights and of predictions, make pseudo-labels more complete and
    reliable."""
    parts = [method("gc", teacher_decay=0.0), method("gc", memory_decay=0.0)]
    found = from_runs(UNKNOWN, [by_archive(e, "calibration", "gc", parts, LABELS)])
    said = "Read as: macro mAP falls without either of them. "
    return found._replace(why=said + found.why)


@claim("adagc-mixup", "AdaGC, Framework")
def mixup(e: Evidence) -> Finding:
    """Mixup within calibration improves generalisation further."""
    readings = [
        by_archive(e, "calibration", method("gc", mixup=alpha), ["gc"], LABELS)
        for alpha in (1.0, 0.2)
    ]
    found = from_runs(UNKNOWN, readings)
    return found._replace(why="Mixup's α is not stated. " + found.why)


@claim("adagc-detector", "AdaGC, Framework")
def detector(e: Evidence) -> Finding:
    """To begin when early learning ends mitigates underfitting and overfitting."""
    fixed = [method("gc", trigger="1"), method("gc", trigger="30")]
    found = from_runs(UNKNOWN, [by_archive(e, "calibration", "gc", fixed, LABELS)])
    said = "Read as: above a start in epoch 1 and in epoch 30. "
    return found._replace(why=said + found.why)


@claim("adagc-manual", "AdaGC, Key features")
def manual(e: Evidence) -> Finding:
    """It serves labels that a person chose, too."""
    why = "The labels that persons chose are not at hand; ours are drawn at random."
    return Finding(NOT_TESTABLE, UNKNOWN, "", why)
