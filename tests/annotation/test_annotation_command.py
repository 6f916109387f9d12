"""`annotate` from the command line and in a notebook, and the review of a completed table."""

import signal
import subprocess
import sys

import pytest
from asking import LABELS, Client, answer, encoded
from PIL import Image

from maclcore.__main__ import main
from maclcore.annotation.answers import Log, read
from maclcore.annotation.session import Conflict, Session
from maclcore.annotation.widget import Widget
from maclcore.data import ArchiveError

# Ctrl-C means something in a shell; what a shell starts in the background ignores it
CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from maclcore.__main__ import main; main()"
)
START = [sys.executable, "-c", CODE, "annotate"]


def started(folder, *words):
    process = subprocess.Popen(
        [*START, str(folder), "--annotator", "ada", "--no-browser", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(2)]
    if not lines[1].startswith("http"):
        lines.append(process.stdout.readline())
    return process, Client(lines[-1].split()[0]), lines


def test_killed_in_mid_answer_it_goes_on_where_it_stopped(folder):
    process, client, _ = started(folder, "--labels", ",".join(LABELS))
    for _ in range(3):
        assert client.answer()[0] == 200
    state = client.get("/state")[1]
    with process:
        process.kill()
    with open(folder / "annotations" / "ada.jsonl", "ab") as file:
        file.write(encoded(read(folder / "annotations")["ada"][0])[:40])
    process, client, lines = started(folder, "--labels", ",".join(LABELS))
    assert "was cut off, and is ignored" in lines[0] and "3 answers so far" in lines[1]
    assert client.get("/state")[1] == {**state, "cut": True}
    assert client.answer()[0] == 200
    with process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == "" and "4 lines in" in out


# --- A review ------------------------------------------------------------------------------------


@pytest.fixture
def completed(folder):
    (folder / "labels.completed.csv").write_text(
        "image,water,sand\n" + "".join(f"img{i},{i % 2},1\n" for i in range(3))
    )
    (folder / "labels.probabilities.csv").write_text(
        "image,sand,water\nimg0,0.9,0.45\nimg1,0.8,0.99\nimg2,0.52,0.1\nimg9,0.5,0.5\n"
    )
    return folder


def test_a_review_asks_for_the_most_doubtful_cells_first(completed):
    session, asked = Session(completed, annotator="ada", mode="review"), []
    while task := session.state()["task"]:
        asked.append((task["name"], task["label"], task["completed"], task["probability"]))
        answer(session, answer="wrong" if len(asked) <= 2 else "right")
    assert asked[:6] == [
        ("img2", "sand", True, 0.52),
        ("img0", "water", False, 0.45),
        ("img1", "sand", True, 0.8),
        ("img0", "sand", True, 0.9),
        ("img2", "water", False, 0.1),
        ("img1", "water", True, 0.99),
    ]
    assert session.state()["changed"] == 2
    session.export()
    session.close()
    text = (completed / "annotations" / "labels.reviewed.csv").read_text()
    assert text == "image,water,sand\nimg0,1,1\nimg1,1,1\n"  # of img2 no label is left
    assert (completed / "labels.completed.csv").read_text().startswith("image,water,sand\nimg0,0,1")


@pytest.mark.parametrize(
    ("table", "probabilities", "message"),
    [
        (None, "", r"labels\.completed\.csv"),
        (
            "image,water\nimg0,1\nelse,1\n",
            "image,water\nimg0,1\n",
            "row without an image.*\n.*else",
        ),
        ("image,water\nimg0,1\n", None, r"labels\.probabilities\.csv cannot be read"),
        ("image,water\nimg0,1\n", "", r"its labels are \[\], those of labels\.completed\.csv"),
        ("image,water\nimg0,1\n", "image,sand\nimg0,1\n", r"its labels are \['sand'\]"),
        ("image,water\nimg0,1\n", "image,water\nimg0,1.5\n", r"img0 \(labels.prob.*, line 2\)"),
        ("image,water\nimg0,1\n", "image,water\nimg0,nan\n", "img0"),
        ("image,water\nimg0,1\n", "image,water\nimg0,0.5,1\n", "img0"),
        ("image,water\nimg0,1\n", "image,water\nimg1,0.5\n", "without a row in.*\n.*img0"),
    ],
)
def test_tables_that_do_not_fit_are_told(folder, table, probabilities, message):
    for name, text in {"completed": table, "probabilities": probabilities}.items():
        if text is not None:
            (folder / f"labels.{name}.csv").write_text(text)
    with pytest.raises(ArchiveError, match=message):
        Session(folder, annotator="ada", mode="review")


# --- From the command line and in a notebook -----------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which labels?"),
        (["--labels", "water,,sand"], "labels that cannot be: ''"),
        (["--labels", "water, water"], "'water' twice"),
        (["--labels", "a", "--labels-file", "b"], "give one of them"),
        (["--labels-file", "nowhere.txt"], "nowhere.txt"),
        (["--labels", "a", "--annotator", "../ada"], "'../ada' cannot be"),
        (["--labels", "a", "--annotator", ".ada"], "'.ada' cannot be"),
        (["--labels", "a", "--port", "70000"], "port 70000 cannot be had"),
        (["--labels", "a", "--completed", "x.csv"], "is for the mode 'review'"),
        (["--labels", "a", "--mode", "review"], "leave them out"),
    ],
)
def test_what_does_not_fit_together_is_one_line(folder, capsys, words, message):
    assert main(["annotate", str(folder), "--no-browser", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_a_folder_that_cannot_be_annotated_is_told(tmp_path, capsys):
    assert main(["annotate", str(tmp_path / "nowhere"), "--labels", "a"]) == 1
    assert "no folder" in capsys.readouterr().err
    assert main(["annotate", str(tmp_path), "--labels", "a"]) == 1
    assert "folder without an image" in capsys.readouterr().err
    for name in ("a.png", "A.tif"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    assert main(["annotate", str(tmp_path), "--labels", "a"]) == 1
    assert "duplicate image name" in capsys.readouterr().err
    assert not (tmp_path / "annotations").exists()


def test_labels_are_those_of_the_table_or_of_a_file(folder, tmp_path):
    (folder / "labels.csv").write_text("image,trees,bare soil\nimg0,1,0\nimg1,0,0\n")
    session = Session(folder, annotator="ada")
    session.close()
    assert session.labels == ("trees", "bare soil")
    (tmp_path / "names.txt").write_text("\ufeffForst\n\n Straße, breit \n", encoding="utf-8")
    process, client, _ = started(folder, "--labels-file", str(tmp_path / "names.txt"))
    assert client.get("/state")[1]["labels"] == ["Forst", "Straße, breit"]
    with process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_images_lie_in_a_plain_folder_too_and_an_answer_is_no_image(tmp_path):
    for place in ("b.png", "deeper/a.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / place)
    session = Session(tmp_path, annotator="ada", labels=LABELS)
    answer(session, answer="none")
    session.export()
    session.close()
    session = Session(tmp_path, annotator="ada", labels=LABELS)
    session.close()
    assert session.pictures.names == ("a", "b")


def test_a_widget_shows_the_page_and_gives_way_to_its_next_run(folder):
    first = Widget(folder, annotator="ada", labels=LABELS)
    Client(first.address).answer()
    second = Widget(folder, annotator="ada", labels=LABELS, height=500)
    assert f'src="{second.address}"' in second._repr_html_() and "500" in second._repr_html_()
    assert Client(second.address).get("/state")[1]["done"] == 1
    with pytest.raises(ConnectionError):
        Client(first.address).get("/state")
    first.stop()  # nothing happens
    assert Client(second.address).answer()[0] == 200
    second.stop()
    Log(folder / "annotations" / "ada.jsonl").close()


def test_a_session_that_has_ended_takes_no_answer(folder):
    session = Session(folder, annotator="ada", labels=LABELS)
    session.close()
    with pytest.raises(OSError, match="this server has ended"):
        answer(session, answer="none")
    with pytest.raises(Conflict):
        session.answer({"turn": 5, "answer": "none"})
