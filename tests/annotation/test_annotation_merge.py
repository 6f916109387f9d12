"""What several annotators say in one: against scikit-learn, by hand, and as files."""

import csv
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from asking import LABELS, ONE
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from maclcore.annotation.answers import Line
from maclcore.annotation.merge import agreement, annotated, export, kappa, last_answers, reviewed
from maclcore.data import read_labels


def said(annotator, image, *labels, mode="one", answer="", time="", **more):
    answer = answer or ("labels" if labels else "none")
    return Line(annotator, mode, 0, answer, image, labels=labels, time=time, **more)


def peer(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not defined, which is NaN there, too
        return cohen_kappa_score(a, b)


# --- Cohen's kappa -------------------------------------------------------------------------------

PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn_and_knows_no_first_and_second(pairs):
    a, b = zip(*pairs, strict=True)
    assert kappa(a, b) == pytest.approx(peer(a, b), nan_ok=True)
    assert kappa(a, b) == pytest.approx(kappa(b, a), nan_ok=True)
    renamed = [x.upper() for x in a], [x.upper() for x in b]
    assert kappa(*renamed) == pytest.approx(kappa(a, b), nan_ok=True)


def test_kappa_by_hand():
    # Cohen's p_o = 3/4; p_e = (3/4)(2/4) + (1/4)(2/4) = 1/2
    assert kappa("yyyn", "yynn") == pytest.approx(0.5)
    assert kappa("yn", "yn") == 1 and kappa("yn", "ny") == -1
    assert math.isnan(kappa("yy", "yy")) and math.isnan(kappa("", ""))
    with pytest.raises(ValueError):
        kappa("y", "yn")


@given(st.integers(0, 2**32 - 1))
def test_agreement_is_kappa_of_the_cells_that_both_have_decided(seed):
    draw = np.random.default_rng(seed)
    tables = draw.random((2, 9, 3)) < 0.5
    answers = draw.choice(["labels", "unsure"], (2, 9), p=[0.8, 0.2])
    lines = [
        [
            said(name, f"img{i}", *np.array(LABELS[:3])[row].tolist(), mode="all")
            if answer == "labels"
            else said(name, f"img{i}", answer="unsure")
            for i, (row, answer) in enumerate(zip(table, given, strict=True))
        ]
        for name, table, given in zip("ab", tables, answers, strict=True)
    ]
    found = agreement(*lines, LABELS[:3])
    both = (answers == "labels").all(axis=0)
    a, b = tables[0][both], tables[1][both]
    assert found.number == both.sum()
    if found.number:
        assert found.same == pytest.approx((a == b).all(axis=1).mean())
        assert found.cells == pytest.approx(peer(a.ravel(), b.ravel()), nan_ok=True)
        first = [[row.argmax() if row.any() else -1 for row in table] for table in (a, b)]
        assert found.one == pytest.approx(peer(*first), nan_ok=True)
        for j, label in enumerate(LABELS[:3]):
            assert found.labels[label] == pytest.approx(peer(a[:, j], b[:, j]), nan_ok=True)


def test_of_a_review_the_verdicts_are_compared_as_what_is_there():
    """The two saw different tables: right of one is wrong of the other."""
    a = [said("a", f"i{i}", label="water", mode="review", answer=v, completed=True)
         for i, v in enumerate(["right", "wrong", "right", "unsure"])]  # fmt: skip
    b = [said("b", f"i{i}", label="water", mode="review", answer=v, completed=False)
         for i, v in enumerate(["wrong", "right", "right", "right"])]  # fmt: skip
    found = agreement(a, b, ["water"])
    assert (found.number, found.same) == (3, pytest.approx(2 / 3))
    assert found.cells == found.labels["water"] == pytest.approx(peer([1, 0, 1], [1, 0, 0]))
    assert math.isnan(found.one)


# --- Tables --------------------------------------------------------------------------------------


def test_the_last_standing_answer_about_an_image_counts_and_repeats_do_not():
    lines = [
        said("a", "x", "water"),
        said("a", "y", "sand"),
        said("a", "x", "trees", repeat=True),
        said("a", "y", answer="undo"),
        said("a", "z", answer="skip"),
        said("a", "x", "cars", "water", mode="all"),
        said("a", "x", label="water", mode="review", answer="right", completed=True),
    ]
    assert last_answers(lines, review=False) == [lines[5]]
    assert last_answers(lines, review=True) == [lines[6]]


def test_the_one_label_is_that_of_most_and_among_equals_the_earliest():
    logs = {
        "a": [said("a", "x", "water", time="3"), said("a", "y", "cars", time="2")],
        "b": [said("b", "x", "trees", time="1"), said("b", "y", "sand", time="1")],
        "c": [said("c", "x", "water", time="2"), said("c", "z", time="1")],
    }
    tables = annotated(logs, LABELS[:4])
    assert tables["single_positive.csv"] == [["image", "label"], ["x", "water"], ["y", "sand"]]
    # in the mode "one" nobody has said that the others' labels are not there
    assert tables["labels.annotated.csv"] == [
        ["image", *LABELS[:4]],
        ["x", 1, 1, 0, 0],
        ["y", 0, 0, 1, 1],
    ]
    assert tables["disagreements.csv"] == [
        ["image", "question", "taken", "a", "b", "c"],
        ["x", "the one label", "water", "water", "trees", "water"],
        ["y", "the one label", "sand", "cars", "sand", ""],
    ]


def test_a_cell_is_what_most_say_who_were_asked_for_all_labels():
    logs = {
        "a": [said("a", "x", "water", "trees", mode="all", time="2")],
        "b": [said("b", "x", "water", mode="all", time="1")],
        "c": [said("c", "x", "sand", "trees", mode="all", time="3")],
        "d": [said("d", "x", answer="unsure", mode="all", time="0")],
    }
    tables = annotated(logs, LABELS[:3])
    assert tables["labels.annotated.csv"][1:] == [["x", 1, 1, 0]]
    assert tables["single_positive.csv"][1:] == [["x", "water"]]
    assert [row[:6] for row in tables["disagreements.csv"][1:]] == [
        ["x", "sand", 0, 0, 0, 1],
        ["x", "the one label", "water", "water", "water", "sand"],
        ["x", "trees", 1, 1, 0, 1],
        ["x", "water", 1, 1, 1, 0],
    ]
    del logs["c"]  # of two, the earlier one
    assert annotated(logs, LABELS[:3])["labels.annotated.csv"][1:] == [["x", 1, 0, 0]]


def test_images_without_a_label_are_in_no_table():
    logs = {"a": [said("a", "x"), said("a", "y", answer="unsure"), said("a", "z", "sand")]}
    tables = annotated(logs, LABELS)
    assert [row[0] for row in tables["labels.annotated.csv"][1:]] == ["z"]
    assert tables["single_positive.csv"][1:] == [["z", "sand"]]


def test_a_review_turns_the_cells_that_are_wrong():
    completed = {("x", "water"): True, ("x", "sand"): False, ("y", "water"): False,
                 ("y", "sand"): True}  # fmt: skip

    def verdict(name, image, label, answer, time):
        there = completed[image, label]
        return said(name, image, label=label, mode="review", answer=answer, completed=there,
                    time=time)  # fmt: skip

    logs = {
        "a": [verdict("a", "x", "sand", "wrong", "1"), verdict("a", "y", "sand", "wrong", "2")],
        "b": [verdict("b", "x", "sand", "right", "3"), verdict("b", "y", "water", "unsure", "1")],
    }
    tables = reviewed(logs, ["water", "sand"], completed)
    assert tables["labels.reviewed.csv"] == [["image", "water", "sand"], ["x", 1, 1]]
    assert tables["disagreements.reviewed.csv"][1:] == [["x", "sand", 1, 1, 0]]


# --- Files ---------------------------------------------------------------------------------------


def test_what_is_exported_is_read_as_any_table_of_labels(tmp_path):
    odd = ['quote " and, comma', "<b>Wasser</b>"]
    logs = {"a": [said("a", "x,1", odd[0]), said("a", "y", odd[1], odd[0])]}
    written = export(tmp_path, annotated(logs, odd))
    assert {file.name: rows for file, rows in written.items()} == {
        "single_positive.csv": 2,
        "labels.annotated.csv": 2,
        "disagreements.csv": 0,
    }
    labels, names = read_labels(tmp_path / "labels.annotated.csv")
    assert names == tuple(odd) and labels.tolist() == [[True, False], [True, True]]
    with open(tmp_path / "single_positive.csv", encoding="utf-8", newline="") as file:
        assert [*csv.reader(file)] == [["image", "label"], ["x,1", odd[0]], ["y", odd[1]]]


def test_an_export_replaces_exports_alone(tmp_path):
    first = annotated({"a": [ONE]}, LABELS)
    second = annotated({"a": [ONE, replace(ONE, image="img2")]}, LABELS)
    export(tmp_path, first)
    export(tmp_path, second)
    assert (tmp_path / "single_positive.csv").read_text() == "image,label\nimg1,water\nimg2,water\n"
    (tmp_path / "labels.annotated.csv").write_text("image,mine\nx,1\n")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"labels\.annotated\.csv is no export, or was changed"):
        export(tmp_path, first)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("writes", range(4))
def test_an_export_that_is_interrupted_can_be_repeated(tmp_path, monkeypatch, writes):
    from maclcore import paths

    first = annotated({"a": [ONE]}, LABELS)
    second = annotated({"a": [replace(ONE, labels=("sand",))]}, LABELS)
    export(tmp_path, first)
    done = []

    def failing(target, real=paths.atomic_path):
        if len(done) == writes:
            raise OSError(28, "No space left on device")
        done.append(target)
        return real(target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(paths, "atomic_path", failing)
        export(tmp_path, second)
    export(tmp_path, second)
    assert (tmp_path / "single_positive.csv").read_text() == "image,label\nimg1,sand\n"
