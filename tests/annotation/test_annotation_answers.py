"""The file of answers and what it comes to: nothing lost, nothing doubled, all of it repeatable."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from asking import LABELS, ONE, answer, encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maclcore.annotation.answers import (
    BETWEEN,
    Line,
    Log,
    LogError,
    Task,
    candidates,
    minutes,
    parse,
    read,
    schedule,
    set_aside,
    shuffled,
    standing,
    upcoming,
)
from maclcore.annotation.session import Conflict, Session

# --- The file ------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LINES = st.builds(
    Line,
    annotator=TEXT,
    mode=st.just("one"),
    seed=st.integers(0, 9),
    answer=st.sampled_from(["labels", "none", "unsure", "skip", "undo"]),
    image=TEXT,
    labels=st.lists(TEXT, max_size=3).map(tuple),
    candidates=st.lists(TEXT, max_size=5).map(tuple),
    repeat=st.booleans(),
    seconds=st.floats(0, 1e6),
    time=TEXT,
)


@given(st.lists(LINES, max_size=5), st.data())
def test_of_a_file_cut_off_anywhere_the_whole_lines_are_read(lines, data):
    parts = [encoded(line) for line in lines]
    content = b"".join(parts)
    cut = data.draw(st.integers(0, len(content)))
    whole = [i for i in range(len(parts)) if sum(map(len, parts[: i + 1])) <= cut]
    found, end = parse(content[:cut], Path("a.jsonl"))
    assert found == [lines[i] for i in whole] and end == sum(len(parts[i]) for i in whole)


def test_a_line_that_was_cut_off_is_said_and_gives_way_to_the_next(tmp_path):
    file = tmp_path / "ada.jsonl"
    file.write_bytes(encoded(ONE) + encoded(ONE)[:30])
    log = Log(file)
    assert log.cut and log.lines == [ONE] and read(tmp_path) == {"ada": [ONE]}
    log.append(other := replace(ONE, image="Düne 'x'"))
    assert file.read_bytes() == encoded(ONE) + encoded(other)
    log.close()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", '{"annotator": "ada"}', "\0\0"]
    + [
        json.dumps(asdict(ONE) | wrong)
        for wrong in (
            {"answer": "perhaps"},
            {"mode": "two"},
            {"answer": "right"},
            {"labels": "water"},
            {"labels": [1]},
            {"image": 3},
            {"more": 1},
        )
    ],
)
def test_a_line_that_is_none_is_named(tmp_path, text):
    file = tmp_path / "ada.jsonl"
    file.write_bytes(encoded(ONE) + text.encode() + b"\n" + encoded(ONE))
    with pytest.raises(LogError, match=r"ada\.jsonl, line 2 is no answer .*correct or remove"):
        Log(file)
    file.write_bytes(encoded(ONE))
    Log(file).close()  # the lock was let go


@contextmanager
def files_of_at_most(size):
    """As on a full disk: what fits is written, and then there is an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 1, 20])
def test_what_does_not_fit_is_refused_and_leaves_the_file_as_it_was(tmp_path, room):
    log = Log(tmp_path / "ada.jsonl")
    log.append(ONE)
    with files_of_at_most(len(encoded(ONE)) + room), pytest.raises(OSError):
        log.append(replace(ONE, image="img2"))
    assert log.lines == [ONE] and log.file.read_bytes() == encoded(ONE)
    log.append(last := replace(ONE, image="img3"))
    assert log.lines == [ONE, last] and parse(log.file.read_bytes(), log.file)[0] == log.lines
    log.close()


def test_an_answer_that_does_not_reach_the_disk_is_refused(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    log = Log(tmp_path / "ada.jsonl")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        log.append(ONE)
    assert log.lines == [] and log.file.read_bytes() == b""
    log.close()


def test_every_answer_is_synced_before_it_counts(tmp_path, monkeypatch):
    log, synced = Log(tmp_path / "ada.jsonl"), []

    def fsync(descriptor, real=os.fsync):
        synced.append((os.fstat(descriptor).st_size, len(log.lines)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    log.append(ONE)
    assert synced == [(len(encoded(ONE)), 0)] and log.lines == [ONE]
    log.close()


def test_lines_of_another_program_are_not_written_over(tmp_path):
    log = Log(tmp_path / "ada.jsonl")
    log.append(ONE)
    before = log.file.read_bytes()
    for content in (before + encoded(ONE), before[:-5], b""):
        log.file.write_bytes(content)
        with pytest.raises(OSError, match="changed by another program"):
            log.append(ONE)
        assert log.file.read_bytes() == content and log.lines == [ONE]
    log.file.unlink()
    with pytest.raises(FileNotFoundError):
        log.append(ONE)
    log.close()
    with pytest.raises(OSError, match="this server has ended"):
        log.append(ONE)


HOLD = "import sys, time; from maclcore.annotation.answers import Log; from pathlib import Path; "
HOLD += "log = Log(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


def test_a_file_is_held_by_one_process_and_free_once_that_is_killed(tmp_path):
    file = tmp_path / "ada.jsonl"
    words = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LogError, match="ada is already annotating here.*--annotator"):
            Log(file)
        Log(tmp_path / "bob.jsonl").close()  # another annotator
        holder.kill()
        holder.wait()
    log = Log(file)
    with pytest.raises(LogError, match="already"):  # nor by two in one process
        Log(file)
    log.close()
    Log(file).close()


# --- Any sequence of answers, undos and kills ----------------------------------------------------

STEPS = st.lists(
    st.sampled_from(["labels", "labels", "none", "unsure", "skip", "undo", "undo", "kill", "end"]),
    max_size=25,
)


def shown(session):
    state = session.state()
    return {key: value for key, value in state.items() if key not in ("turn", "cut")}


@given(STEPS, st.integers(0, 3), st.sampled_from(["one", "all"]))
@settings(max_examples=40, deadline=None)
def test_answers_undos_and_kills_in_any_order_come_to_the_plain_list(steps, seed, mode):
    """`past` is that list: of each answer that stands what was shown before it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for i in range(5):
            Image.new("L", (2, 2)).save(folder / f"img{i}.png")
        options = {"annotator": "ada", "mode": mode, "labels": LABELS, "seed": seed}
        session, past, given_answers, cut = Session(folder, **options), [], [], False
        for step in steps:
            before = shown(session)
            if step in ("kill", "end"):
                session.close()
                if step == "kill":  # in the middle of writing the next answer
                    with open(session.log.file, "ab") as file:
                        file.write(encoded(ONE)[: 7 * len(past) + 1])
                session, cut = Session(folder, **options), cut or step == "kill"
                assert session.log.cut is cut and shown(session) == before
            elif step == "undo":
                if past:
                    cut = False
                    answer(session, answer="undo")
                    given_answers.pop()
                    assert shown(session) == past.pop()
                else:
                    with pytest.raises(Conflict, match="nothing to undo"):
                        answer(session, answer="undo")
            elif before["task"]:
                labels = before["task"]["candidates"][:2] if step == "labels" else []
                answer(session, answer=step, labels=labels)
                cut = False
                past.append(before)
                given_answers.append((before["task"]["name"], step, tuple(labels)))
            else:
                with pytest.raises(Conflict, match="all is answered"):
                    answer(session, answer=step)
        session.close()
        kept = standing(read(folder / "annotations")["ada"])
        assert [(line.image, line.answer, line.labels) for line in kept] == given_answers


def test_an_undo_takes_back_in_its_own_mode():
    lines = [replace(ONE, mode=mode, answer="none") for mode in ("one", "all", "all")]
    lines.insert(2, replace(ONE, answer="undo"))
    assert [line.mode for line in standing(lines)] == ["all", "all"]
    assert standing([replace(ONE, answer="undo")]) == []
    skips = [replace(ONE, answer="skip", image=image) for image in "aba"]
    assert standing([*skips, replace(ONE, answer="undo", image="a")]) == skips[:2]


# --- What is asked -------------------------------------------------------------------------------


def test_candidates_are_a_function_of_seed_and_image_in_every_order_equally_often():
    task, images = Task("img7"), [Task(f"img{i}") for i in range(3000)]
    order = candidates(LABELS, task, 3)
    assert sorted(order) == sorted(LABELS) and order == candidates(LABELS[::-1], task, 3)
    assert len({tuple(candidates(LABELS, task, seed)) for seed in range(20)}) > 15
    assert candidates(LABELS, task._replace(repeat=True), 3) != order
    for place in range(len(LABELS)):
        counts = Counter(candidates(LABELS, image, 0)[place] for image in images)
        assert counts.keys() == {*LABELS}
        # 500 expected of each; the standard deviation is 20
        assert all(abs(count - 500) < 100 for count in counts.values())


def test_the_order_of_candidates_stays_as_it_is():
    """A log that is continued by a later version must meet the same questions."""
    assert candidates("abcdef", Task("img1"), 0) == ["c", "f", "d", "b", "e", "a"]
    assert [task.image for task in shuffled(["x", "y", "z"], 0)] == ["y", "z", "x"]


def test_one_in_twenty_is_asked_twice_later_on():
    tasks = shuffled([f"img{i}" for i in range(4000)], 1)
    order = schedule(tasks, 1)
    place = {task: i for i, task in enumerate(order)}
    again = [task for task in order if task.repeat]
    assert [task for task in order if not task.repeat] == tasks and len(place) == len(order)
    assert 140 < len(again) < 260  # 200 expected; the standard deviation is 14
    for task in again:
        first = place[task._replace(repeat=False)]
        others = [x for x in order[first + 1 : place[task]] if not x.repeat]
        left = [x for x in order[first + 1 :] if not x.repeat]
        assert len(others) == min(BETWEEN, len(left))
    assert schedule(tasks, 2) != order == schedule(tasks, 1)


def test_what_is_skipped_comes_again_once_and_is_then_set_aside():
    a, b, c = tasks = [Task("a"), Task("b"), Task("c")]
    lines = [replace(ONE, answer="skip", image="a"), replace(ONE, image="b")]
    assert upcoming(tasks, lines[:1]) == [b, c, a] and upcoming(tasks, lines) == [c, a]
    assert set_aside(lines) == [a]
    lines += [replace(ONE, image="c")]
    assert upcoming(tasks, lines) == [a]
    assert upcoming(tasks, [*lines, lines[0]]) == [] and set_aside([*lines, lines[0]]) == [a]
    assert set_aside([*lines, replace(ONE, image="a")]) == []


def one_by_one(tasks, lines):
    """`upcoming`, told as cards in two heaps."""
    heap, later = list(tasks), []
    for line in lines:
        if line.answer == "skip" and line.task in heap:
            later.append(line.task)
        elif line.task in later:
            later.remove(line.task)
        if line.task in heap:
            heap.remove(line.task)
    answered = {line.image for line in lines if line.answer != "skip" and not line.repeat}
    return [task for task in heap + later if not task.repeat or task.image in answered]


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.sampled_from(["none", "skip"]))))
def test_what_is_upcoming_is_what_is_left_of_the_heap(steps):
    tasks = schedule(shuffled("abcdefgh", 0), 0) + [Task("b", repeat=True), Task("h", repeat=True)]
    tasks = list(dict.fromkeys(tasks))
    lines, gone = [], set()
    for i, again, said in steps:
        line = replace(ONE, image="abcdefgh"[i], repeat=again, answer=said)
        if line.task in tasks and line.task not in gone:
            lines.append(line)
            gone |= {line.task} if said == "none" else set()
    assert upcoming(tasks, lines) == one_by_one(tasks, lines)


def test_nothing_is_repeated_before_it_was_answered():
    again = Task("a", repeat=True)
    tasks = [Task("a"), again, Task("b")]
    assert upcoming(tasks, [replace(ONE, answer="skip", image="a")]) == [Task("b"), Task("a")]
    assert upcoming(tasks, [replace(ONE, image="a")]) == [again, Task("b")]


def test_of_a_pause_two_minutes_count():
    lines = [replace(ONE, seconds=seconds) for seconds in (30.0, 90.0, 7200.0)]
    assert minutes(lines) == 4.0
