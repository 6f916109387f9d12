"""What SoftCon and AdaGC say: verdicts of runs that are made up, and of the store's."""

from dataclasses import replace

import pandas as pd
import pytest
from made_up import CHECKS, runs_of

from maclcore.audit.claims import NOT_REPRODUCED, REPRODUCED, UNDECIDED
from maclcore.audit.claims.companions import RIVALS
from maclcore.evaluation.retrieval import METRICS

HIGH, LOW = (0.80, 0.81, 0.82), (0.70, 0.72, 0.71)


def told(empty, experiment, scores, archives=("dlrsd", "ml_aid")):
    """Evidence of runs of one experiment, the same on each archive."""
    parts = [runs_of(scores, archive) for archive in archives]
    rows = pd.concat(parts).assign(experiment=experiment)
    rows["macro mAP"] = rows[METRICS[0]]
    return replace(empty, companions=rows)


@pytest.mark.parametrize(
    "claim, experiment, method, rivals",
    [
        ("adagc-best", "weak_labels", "gc", RIVALS),
        ("adagc-whole-network", "weak_network", "gc", ("an", "epr", "role")),
        ("adagc-two-averages", "calibration", "gc", ("gc teacher_decay=0", "gc memory_decay=0")),
        ("adagc-mixup", "calibration", "gc mixup=1", ("gc",)),
        ("adagc-detector", "calibration", "gc", ("gc trigger=1", "gc trigger=30")),
        ("softcon-soft-part", "soft_weight", "softcon", ("infonce",)),
    ],
)
def test_a_claim_asks_to_be_ahead_of_every_rival_on_every_archive(
    empty, claim, experiment, method, rivals
):
    ahead = told(empty, experiment, {method: HIGH, **dict.fromkeys(rivals, LOW)})
    found = CHECKS[claim](ahead)
    assert found.verdict == REPRODUCED and "ahead in" in found.why
    assert "dlrsd" in found.ours and "ml_aid" in found.ours
    assert len(set(found.runs)) == 6 * (1 + len(rivals))
    *others, last = rivals
    one = {method: HIGH, **dict.fromkeys(others, LOW), last: (0.9, 0.91, 0.92)}
    assert CHECKS[claim](told(empty, experiment, one)).verdict == NOT_REPRODUCED
    elsewhere = CHECKS[claim](told(empty, "another", {method: HIGH, **dict.fromkeys(rivals, LOW)}))
    assert elsewhere.verdict == UNDECIDED and not elsewhere.runs
    two = {method: HIGH[:2], **dict.fromkeys(rivals, LOW[:2])}
    assert CHECKS[claim](told(empty, experiment, two)).verdict == UNDECIDED


def test_an_archive_without_the_method_does_not_count(empty):
    whole = told(empty, "calibration", {"gc": LOW, "gc mixup=1": HIGH}).companions
    alone = told(empty, "calibration", {"gc": HIGH}, ["dlrsd2"]).companions
    found = CHECKS["adagc-mixup"](replace(empty, companions=pd.concat([whole, alone])))
    assert found.verdict == REPRODUCED and "dlrsd2" not in found.ours


def test_the_other_reading_of_the_average_counts(empty):
    rows = {"softcon": LOW, "softcon average=candidates": HIGH, "infonce": LOW}
    found = CHECKS["softcon-soft-part"](told(empty, "soft_weight", rows))
    assert found.verdict == REPRODUCED and "even in" in found.why and "ahead in" in found.why


def test_methods_of_the_store_are_what_their_settings_change(stored):
    rows = stored.companions
    methods = rows.groupby("experiment")["method"].unique()
    assert {"gc", "gc memory_decay=0 teacher_decay=0"} <= {*methods["calibration"]}
    assert {"softcon", "softcon average=candidates", "infonce"} <= {*methods["soft_weight"]}
    assert all(" " not in name for name in methods["weak_labels"])
    assert rows["macro mAP"].notna()[rows["experiment"] != "soft_weight"].all()


def test_single_labels_make_supervised_contrast_of_one_form_alone(empty):
    found = CHECKS["softcon-single-label"](empty)
    assert found.verdict == REPRODUCED and "sigmoid form 3" in found.ours
