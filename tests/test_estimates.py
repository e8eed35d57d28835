"""The output of other systems: its forms told apart, read, and refused where it is none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from estimates import EVENTS, FRAMES, REFERENCE, A, put

from avsed.annotations import Event
from avsed.errors import AnnotationError, AvsedError
from avsed.exchange.estimate_files import read_estimate, read_reference
from avsed.exchange.estimates import Box
from avsed.exchange.score_tables import read_score_folder
from avsed.scores import write_scores


@pytest.mark.parametrize(
    ("text", "kind", "form"),
    [
        (REFERENCE, "events", "events"),
        (REFERENCE.removeprefix(EVENTS), "events", "events"),
        (REFERENCE.replace("\t", ","), "events", "events"),
        (
            "event_label,Score,onset,offset,filename\nDog,0.5,0,1,a.wav\n",
            "boxes",
            "events with confidences (column Score)",
        ),
        (
            "filename\tthreshold\tonset\toffset\tevent_label\na.wav\t.5\t0\t1\tDog\na.wav\t.2\t0\t1\tDog\n",
            "points",
            "events at 2 thresholds (operating points, column threshold)",
        ),
        ("filename\tevent_labels\na.wav\tDog,Cat\n", "tags", "tags of clips (column event_labels)"),
        (
            "filename,Dog,Cat\na.wav,0.5,1e-3\n",
            "probabilities",
            "clip probabilities of 2 classes (a column of numbers each)",
        ),
        (
            "filename\tonset\toffset\tDog\na.wav\t0\t1\t0.5\n",
            "scores",
            "frame scores of 1 classes (numbers after onset, offset)",
        ),
    ],
)
def test_the_form_of_a_table_is_told_by_its_columns(tmp_path: Path, text: str, kind: str, form: str) -> None:
    found = read_estimate(put(tmp_path / "e.tsv", text))
    assert (found.kind, found.form) == (kind, form)
    assert "a.wav" in found.clips
    assert getattr(found, kind) is not None


def test_the_form_of_a_folder_is_told_by_its_tables(tmp_path: Path) -> None:
    for name in ("Y1_0.000_10.000", "b"):
        put(tmp_path / "scores" / f"{name}.tsv", FRAMES + A)
    (tmp_path / "scores/.b-half.tsv").write_text("half-written")
    found = read_estimate(tmp_path / "scores")
    assert (found.kind, found.clips, found.classes) == ("scores", ("Y1_0.000_10.000", "b"), ("Dog", "Cat"))
    put(tmp_path / "points/predictions_th0.50.tsv", EVENTS + "a.wav\t0\t1\tDog\n")
    put(tmp_path / "points/predictions_th0.10.tsv", EVENTS + "a.wav\t0\t1\tDog\nb.wav\t0\t1\tDog\n")
    put(tmp_path / "points/1e-05.tsv", EVENTS)
    found = read_estimate(tmp_path / "points")
    assert found.points is not None
    assert [point.threshold for point in found.points] == [1e-5, 0.1, 0.5]
    assert found.clips == ("a.wav", "b.wav")
    write_scores(tmp_path / "own", list(read_score_folder(tmp_path / "scores")))  # told by content, not by its ending
    assert read_estimate(tmp_path / "own").kind == "scores"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("filename\na.wav\n", "no column says what sounds; found filename; expected"),
        ("filename\tduration\na.wav\t3\n", r"a table of durations \(give it as --durations\)"),
        ("filename\tevent_label\na.wav\tDog\n", r"no column 'event_labels' \(did you mean 'event_label'"),
        ("filename\tonset\toffset\tlabel\na.wav\t0\t1\tDog\n", r"no column 'event_label' \(did you mean 'label'"),
        ("filename\tonset\toffset\na.wav\t0\t1\n", "no column 'event_label'"),
        (FRAMES + A, "the frame scores of one clip, by its columns; give the folder"),
        (
            "filename\tonset\toffset\tevent_label\tscore\tconfidence\na.wav\t0\t1\tDog\t1\t1\n",
            "which is the confidence of an event: score or confidence",
        ),
        (
            "filename\tonset\toffset\tevent_label\tscore\na.wav\t0\t1\tDog\t\n",
            r":2: column 'score': '' is not a number",
        ),
        (
            "filename\tonset\toffset\tevent_label\tscore\na.wav\t0\t1\tDog\t-3.5\n",
            r":2: column 'score' is -3.5, but .* logits.*sigmoid",
        ),
        (
            "filename\tonset\toffset\tevent_label\tthreshold\na.wav\t0\t1\tDog\t50\n",
            r":2: the threshold 50 does not lie in \[0, 1\]",
        ),
        (
            "filename\tDog\tCat\na.wav\t0.1\t80\nb.wav\t1\t3\n",
            ":2: column 'Cat' is 80, but scores lie .* per cent. divide by 100",
        ),
        ("filename\tDog\na.wav\t0.1\na.wav\t0.2\n", r":3: a.wav stands in line 2 already"),
        ("filename\tDog\na.wav\t0.1\nb.wav\tnan\n", ":3: column 'Dog' is NaN"),
        ("filename\tDog\tDog\na.wav\t0.1\t1\n", ":1: the column 'Dog' stands twice"),
        ("filename\tevent_labels\na.wav\tDog\na.wav\tCat\n", ":3: a.wav stands twice with different labels"),
        (
            "filename\tonset\toffset\tDog\na\t0\t1\t1\nb\t0\t1\t1\na\t1\t2\t0\n",
            r":4: a again, after its rows from line 2 on; .* together",
        ),
    ],
)
def test_what_is_none_of_the_forms_says_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AvsedError, match=rf"e\.tsv.*{message}|e\.tsv{message}"):
        read_estimate(put(tmp_path / "e.tsv", text))


def test_folders_that_are_none_of_the_forms_say_what_to_give(tmp_path: Path) -> None:
    put(tmp_path / "out/events.tsv", REFERENCE)
    with pytest.raises(
        AnnotationError, match=r"events\.tsv: not named by a threshold.*or give one file: .*events\.tsv"
    ):
        read_estimate(tmp_path / "out")
    put(tmp_path / "run/scores/test.safetensors", "")
    put(tmp_path / "run/checkpoint.safetensors", "")
    with pytest.raises(AnnotationError, match=r"run: no tables.*give the file .*scores/test\.safetensors"):
        read_estimate(tmp_path / "run")
    for name in ("0.5.tsv", "0.50.tsv"):
        put(tmp_path / "points" / name, EVENTS)
    with pytest.raises(AnnotationError, match=r"two tables for the threshold 0\.5: 0\.5\.tsv and 0\.50\.tsv"):
        read_estimate(tmp_path / "points")
    put(tmp_path / "percent/50.tsv", EVENTS)
    with pytest.raises(AnnotationError, match=r"50\.tsv: named by the threshold 50, but"):
        read_estimate(tmp_path / "percent")
    with pytest.raises(AnnotationError, match=r"absent\.tsv: cannot read"):
        read_estimate(tmp_path / "absent.tsv")


def test_references_that_are_none_say_what_to_give(tmp_path: Path) -> None:
    put(tmp_path / "data/metadata/test.tsv", REFERENCE)
    with pytest.raises(AnnotationError, match=r"data: a folder; give the table of the reference: .*metadata/test\.tsv"):
        read_reference(tmp_path / "data")
    with pytest.raises(AnnotationError, match=r"durations \(give it as --durations\)"):
        read_reference(put(tmp_path / "d.tsv", "filename\tduration\na\t1\n"))
    with pytest.raises(AnnotationError, match="clips without labels"):
        read_reference(put(tmp_path / "c.tsv", "filename\na\n"))


def test_confidences_stay_with_their_events(tmp_path: Path) -> None:
    text = "filename\tonset\toffset\tevent_label\tprobability\na\t2\t3\tDog\t0.1\nb\t\t\t\t\na\t0\t3\tDog\t0.9\na\t2\t3\tDog\t0.2\n"
    found = read_estimate(put(tmp_path / "e.tsv", text))
    assert found.boxes == {"a": [Box(2, 3, "Dog", 0.1), Box(0, 3, "Dog", 0.9), Box(2, 3, "Dog", 0.2)], "b": []}


def test_events_of_each_threshold_are_a_list_of_their_own(tmp_path: Path) -> None:
    text = "filename\tonset\toffset\tevent_label\tthreshold\na\t2\t3\tDog\t0.9\na\t1\t3\tDog\t0.1\nb\t1\t3\tDog\t0.1\n"
    points = read_estimate(put(tmp_path / "e.tsv", text)).points
    assert points is not None
    assert [(point.threshold, point.events) for point in points] == [
        (0.1, {"a": [Event(1, 3, "Dog")], "b": [Event(1, 3, "Dog")]}),
        (0.9, {"a": [Event(2, 3, "Dog")]}),
    ]


def test_comma_separated_columns_may_have_commas_in_their_names(tmp_path: Path) -> None:
    table = put(tmp_path / "e.csv", 'filename,"Child speech, kid speaking",Dog\na.wav,0.5,1\n')
    found = read_estimate(table)
    assert found.classes == ("Child speech, kid speaking", "Dog")
