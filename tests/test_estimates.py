"""The output of other systems: told apart, read, and brought together with a reference."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from avsed import commands
from avsed.annotations import Event
from avsed.errors import AnnotationError, AvsedError, ConfigError, ScoresError
from avsed.exchange.estimate_files import read_estimate, read_reference
from avsed.exchange.estimates import Box
from avsed.exchange.score_tables import read_score_folder, read_score_table, stem, write_score_tables
from avsed.scores import Scores, write_scores
from avsed.tables import read_events

EVENTS = "filename\tonset\toffset\tevent_label\n"
FRAMES = "onset\toffset\tDog\tCat\n"
REFERENCE = EVENTS + "a.wav\t0\t1\tDog\na.wav\t2\t3\tCat\nb.wav\t1\t2\tDog\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def frames(*values: tuple[float, float], period: float = 1.0, first: int = 0) -> str:
    """Rows of a table of frame scores: (Dog, Cat) of each frame."""
    return "".join(
        f"{(first + n) * period}\t{(first + n + 1) * period}\t{dog}\t{cat}\n" for n, (dog, cat) in enumerate(values)
    )


def score(
    tmp_path: Path, estimate: Path, reference: str = REFERENCE, durations: str | None = None, **options: Any
) -> Any:
    lengths = None if durations is None else put(tmp_path / "lengths.tsv", "filename\tduration\n" + durations)
    return commands.score(put(tmp_path / "reference.tsv", reference), estimate, durations=lengths, **options)


A = frames((0.9, 0.1), (0.2, 0.1), (0.1, 0.8))
B = frames((0.1, 0.1), (0.7, 0.2), (0.1, 0.1))
PLAIN = ["postprocessing.median_filter=1"]


# --- forms ---


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


# --- frame scores as tables ---


@settings(max_examples=30, deadline=None)
@given(
    values=arrays(np.float32, (7, 2), elements=st.floats(0, 1, width=32)),
    lengths=st.lists(st.floats(1e-3, 1e3), min_size=7, max_size=7),
)
def test_scores_survive_the_way_through_tables(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, lengths: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    grid = np.cumsum([0.0, *lengths])
    write_score_tables(folder, [Scores("x/c_0.000.wav", ("Dog", "a, b"), values, grid, values[0])])
    (read,) = read_score_folder(folder)
    assert (read.clip, read.classes) == ("c_0.000", ("Dog", "a, b"))
    assert np.array_equal(read.frames, values)
    assert np.array_equal(read.boundaries, grid)
    assert np.array_equal(read.tags, values.max(axis=0))


def test_a_folder_and_one_table_hold_the_same(tmp_path: Path) -> None:
    put(tmp_path / "s/a.tsv", FRAMES + A)
    put(tmp_path / "s/b.csv", "Cat,onset,offset,Dog\n0.5,0,1,0.25\n")  # columns in another order, commas
    rows = "".join(f"a\t{row}\n" for row in A.splitlines()) + "\nb\t0\t1\t0.25\t0.5\r\n"
    both = read_score_folder(tmp_path / "s"), read_score_table(put(tmp_path / "s.tsv", "filename\t" + FRAMES + rows))
    for one, other in zip(*both, strict=True):
        assert (one.clip, one.classes) == (other.clip, other.classes)
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.boundaries, other.boundaries)
    assert both[0].tags_from == both[1].tags_from == "frames"


def test_tables_are_parsed_again_when_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avsed.exchange.score_tables.KEPT", 24)  # one clip
    put(tmp_path / "s/a.tsv", FRAMES + A)
    put(tmp_path / "s/b.tsv", FRAMES + B)
    read = read_score_folder(tmp_path / "s")
    assert read[0] is read[0]
    assert read[1] is not read[1]
    assert read[1].frames[1, 0] == np.float32(0.7)


def test_comma_separated_columns_may_have_commas_in_their_names(tmp_path: Path) -> None:
    table = put(tmp_path / "e.csv", 'filename,"Child speech, kid speaking",Dog\na.wav,0.5,1\n')
    found = read_estimate(table)
    assert found.classes == ("Child speech, kid speaking", "Dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FRAMES, "no frames"),
        (FRAMES + A + "3\t4\t1\n", ":5: expected 4 fields"),
        (FRAMES + "0\t1\t0.5\tloud\n", ":2: column 'Cat': 'loud' is not a number"),
        (FRAMES + "0\t1\t\t1\n", ":2: column 'Dog': an empty field"),
        (FRAMES + "\n0\t1\tnan\t1\n", ":3: column 'Dog' is NaN"),
        (FRAMES + "0\t1\t-2.5\t1\n", ":2: column 'Dog' is -2.5, but .* logits"),
        (FRAMES + "0\t1\t3\t97\n", ":2: column 'Dog' is 3, but .* per cent. divide by 100"),
        (FRAMES + "0\t1\t3\t4\n", "are they logits. give probabilities"),
        (FRAMES + "0\t1\t1.00001\t1\n", "is it rounding. cut them"),
        (FRAMES + "0\t1\t0\t0\n1.5\t2\t0\t0\n", ":3: a frame begins at 1.5 s, but the one before ends at 1 s: a gap"),
        (FRAMES + "0\t1\t0\t0\n0.5\t2\t0\t0\n", ":3: a frame begins at 0.5 s, .* an overlap, or rows out of order"),
        (FRAMES + "1\t2\t0\t0\n0\t1\t0\t0\n", ":3: .* rows out of order"),
        (FRAMES + "1\t0\t0\t0\n", ":2: a frame from 1 to 0 s"),
        (FRAMES + "-1\t0\t0\t0\n", ":2: a frame from -1 to 0 s"),
        ("onset\toffset\n0\t1\n", ":1: no column of a class"),
        ("onset\toffset\tDog\tDog\n0\t1\t1\t1\n", ":1: the column 'Dog' stands twice"),
        ("onset\tofset\tDog\n0\t1\t1\n", r":1: no column 'offset' \(did you mean 'ofset'"),
    ],
)
def test_a_wrong_table_of_frame_scores_names_file_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path / "s/a.tsv", text)
    with pytest.raises(ScoresError, match=rf"a\.tsv.*{message}|a\.tsv{message}"):
        list(read_score_folder(tmp_path / "s"))


def test_times_that_are_rounded_follow_each_other(tmp_path: Path) -> None:
    put(tmp_path / "s/a.tsv", FRAMES + "0\t0.0213\t0\t0\n0.0214\t0.0427\t0\t0\n")
    assert read_score_folder(tmp_path / "s")[0].boundaries.tolist() == [0, 0.0214, 0.0427]


def test_folders_of_scores_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "s/a.tsv", FRAMES + A)
    put(tmp_path / "s/b.tsv", "onset\toffset\tDog\tCow\n0\t1\t1\t1\n")
    with pytest.raises(ScoresError, match=r"b\.tsv:1: other classes than .*a\.tsv: Cat, Cow only in one"):
        list(read_score_folder(tmp_path / "s"))
    put(tmp_path / "s/a.csv", FRAMES + A)
    with pytest.raises(ScoresError, match=r"two tables for the clip 'a': a\.csv and a\.tsv"):
        read_score_folder(tmp_path / "s")


def test_tables_are_not_written_where_they_could_not_be_read(tmp_path: Path) -> None:
    def one(clip: str, label: str = "Dog", count: int = 1) -> Scores:
        return Scores(clip, (label,), np.zeros((count, 1), np.float32), np.arange(count + 1.0), np.zeros(1, np.float32))

    with pytest.raises(ScoresError, match=r"b/a\.mp4 and a\.wav would have the same file a\.tsv"):
        write_score_tables(tmp_path, [one("a.wav"), one("b/a.mp4")])
    with pytest.raises(ScoresError, match="no column can be called 'onset'"):
        write_score_tables(tmp_path, [one("a.wav", "onset")])
    with pytest.raises(ScoresError, match=r"a\.wav has no frames"):
        write_score_tables(tmp_path, [one("a.wav", count=0)])
    assert [stem(name) for name in ("x/a.b.wav", "Y_0.000_10.000", "a.mp4")] == ["a.b", "Y_0.000_10.000", "a"]


# --- numbers ---


def folder(tmp_path: Path, **tables: str) -> Path:
    for name, text in tables.items():
        put(tmp_path / f"scores/{name}.tsv", FRAMES + text)
    return tmp_path / "scores"


def test_frame_scores_of_all_forms_score_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = score(tmp_path, folder(tmp_path, a=A, b=B), settings=PLAIN)
    assert "scores: taken as frame scores of 2 classes, a table for each of 2 clips" in capsys.readouterr().err
    assert (found.event.micro.correct, found.event.micro.estimated, found.event.micro.reference) == (3, 3, 3)
    assert found.clip.micro.f1 == 1
    assert found.clip.definition["name"] == "clip-based from frame scores"
    rows = "".join(f"{clip}\t{row}\n" for clip, text in (("b.wav", B), ("a.wav", A)) for row in text.splitlines())
    one = score(tmp_path, put(tmp_path / "one.tsv", "filename\t" + FRAMES + rows), settings=PLAIN)
    assert one.to_dict()["event"] == found.to_dict()["event"]
    own = [
        Scores(f"{s.clip}.wav", s.classes, s.frames, s.boundaries, 0 * s.tags)
        for s in read_score_folder(tmp_path / "scores")
    ]
    write_scores(tmp_path / "own.safetensors", own)
    ours = score(tmp_path, tmp_path / "own.safetensors", settings=PLAIN)
    assert ours.to_dict()["event"] == found.to_dict()["event"]
    assert (ours.clip.definition["name"], ours.clip.micro.estimated) == ("clip-based", 0)  # its own clip probabilities


def test_confidences_and_operating_points_are_cut_at_the_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "a.wav\t0\t1\tDog\t0.9\na.wav\t2\t3\tCat\t0.6\nb.wav\t1\t2\tDog\t0.2\n"
    boxes = put(tmp_path / "boxes.tsv", EVENTS.replace("\n", "\tscore\n") + rows)
    assert score(tmp_path, boxes).event.micro.correct == 2
    assert score(tmp_path, boxes, settings=["postprocessing.threshold=0.7"]).event.micro.correct == 1
    put(tmp_path / "points/0.9.tsv", EVENTS + "a.wav\t0\t1\tDog\n")
    put(tmp_path / "points/0.4.tsv", REFERENCE)
    capsys.readouterr()
    assert score(tmp_path, tmp_path / "points").event.micro.correct == 1  # said for thresholds above 0.4, up to 0.9
    assert "events at the threshold 0.9" in capsys.readouterr().err
    assert score(tmp_path, tmp_path / "points", settings=["postprocessing.threshold=0.4"]).event.micro.correct == 3
    with pytest.raises(AnnotationError, match=r"no events at a threshold of 0\.95 or more; the greatest is 0\.9"):
        score(tmp_path, tmp_path / "points", settings=["postprocessing.threshold=0.95"])


WEAK = "filename\tevent_labels\na.wav\tDog,Cat\nb.wav\tDog\n"


@pytest.mark.parametrize(
    ("reference", "estimate", "name"),
    [
        (WEAK, WEAK, "clip-based"),
        (REFERENCE, WEAK, "clip-based"),
        (WEAK, "filename\tCat\tDog\na.wav\t0.5\t1\nb.wav\t0.1\t0.9\n", "clip-based"),
        (WEAK, REFERENCE, "tags from events"),
        (WEAK, None, "clip-based from frame scores"),
    ],
)
def test_where_one_side_has_no_times_tags_are_compared(
    tmp_path: Path, reference: str, estimate: str | None, name: str
) -> None:
    path = folder(tmp_path, a=A, b=B) if estimate is None else put(tmp_path / "e.tsv", estimate)
    found = score(tmp_path, path, reference)
    assert (found.clip.micro.correct, found.clip.micro.f1, found.clip.definition["name"]) == (3, 1.0, name)
    key = "tags_from_events_micro_f1" if name == "tags from events" else "clip_micro_f1"
    assert found.to_dict()["headline"] == {key: 1.0}
    printed = io.StringIO()
    Console(file=printed, width=120).print(*found.render())
    assert "100.0" in printed.getvalue() and "segment" not in printed.getvalue()


def test_clips_without_events_and_overlapping_events_are_compared(tmp_path: Path) -> None:
    reference = EVENTS + "a.wav\t0\t2\tDog\na.wav\t1\t3\tDog\nsilent.wav\t\t\t\n"
    estimate = put(tmp_path / "e.tsv", EVENTS + "a.wav\t0\t2\tDog\na.wav\t1\t3\tDog\nsilent.wav\t\t\t\n")
    found = score(tmp_path, estimate, reference)
    assert (found.event.micro.correct, found.event.micro.estimated) == (2, 2)
    assert found.about["fingerprint"]["clips"] == 2
    still = score(
        tmp_path,
        folder(tmp_path, a=A.replace("0.8", "0.1"), silent=B),
        reference,
        settings=[*PLAIN, "data.labels=[Cat, Dog]"],
    )
    assert still.event.micro.estimated == 2


# --- clips that do not fit ---


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("x/a.wav", "1 of them would match without their folders: 'x/a.wav' and 'a.wav'"),
        (r"C:\\x\\a.wav", "would match without their folders"),
        ("a.mp4", "would match without their endings: 'a.mp4' and 'a.wav'"),
        ("x/a.mp4", "would match without folders and endings"),
        ("Ya.wav", "would match without a leading Y: 'Ya.wav' and 'a.wav'"),
        ("A.WAV", "would match in lower case|without their endings"),
        ("aa.wav", r"\(did you mean 'a.wav'\?\)"),
    ],
)
def test_clips_that_the_reference_lacks_come_with_what_they_may_be(tmp_path: Path, name: str, hint: str) -> None:
    estimate = put(tmp_path / "e.tsv", f"{EVENTS}{name}\t0\t1\tDog\nb.wav\t0\t1\tDog\n")
    with pytest.raises(
        AnnotationError, match=rf"1 of 2 clips of the estimate are not in the reference .*, such as .*{hint}"
    ):
        score(tmp_path, estimate)


def test_clips_that_the_estimate_lacks_are_silent_in_lists_and_wrong_in_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = put(tmp_path / "e.tsv", EVENTS + "a.wav\t0\t1\tDog\n")
    assert score(tmp_path, estimate).about["clips_without_estimate"] == 1
    assert "no row for 1 of the reference's 2 clips: taken as clips without events" in capsys.readouterr().err
    with pytest.raises(
        AnnotationError, match="--missing-clips drop leaves out clips without scores, but this is events"
    ):
        score(tmp_path, estimate, missing_clips="drop")
    for scores in (folder(tmp_path, a=A), put(tmp_path / "p.tsv", "filename\tDog\tCat\na.wav\t1\t1\n")):
        with pytest.raises(
            ScoresError, match=r"no scores for 1 of the reference's 2 clips: b\.wav; .*--missing-clips drop"
        ):
            score(tmp_path, scores)
        found = score(tmp_path, scores, missing_clips="drop")
        assert found.about["fingerprint"]["left_out"] == ["b.wav"]
        assert found.about["fingerprint"]["clips"] == 1
        assert found.clip.micro.reference == 2
        assert "1 of the reference's 2 clips have no scores: left out" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--missing-clips skip: expected error or drop"):
        score(tmp_path, estimate, missing_clips="skip")


def test_only_tables_of_a_score_folder_are_matched_without_folder_and_ending(tmp_path: Path) -> None:
    reference = REFERENCE.replace("a.wav", "eval/a.wav")
    assert score(tmp_path, folder(tmp_path, a=A, b=B), reference, settings=PLAIN).event.micro.correct == 3
    with pytest.raises(ScoresError, match=r"a: the reference has 2 clips of this name: a\.wav, a\.mp4"):
        score(tmp_path, tmp_path / "scores", REFERENCE + "a.mp4\t0\t1\tDog\n")
    (tmp_path / "scores/a.wav.tsv").write_text(FRAMES + A)
    with pytest.raises(ScoresError, match=r"two clips are a\.wav: a and a\.wav|two clips are a\.wav: a\.wav and a"):
        score(tmp_path, tmp_path / "scores")
    with pytest.raises(AnnotationError, match="would match without their endings"):
        score(tmp_path, put(tmp_path / "p.tsv", "filename\tDog\tCat\na\t1\t1\nb\t1\t1\n"))


# --- classes that do not fit ---


@pytest.mark.parametrize("said", ["people_talking", "People Talking", "people  talking"])
def test_labels_that_are_written_otherwise_are_named(tmp_path: Path, said: str) -> None:
    reference = EVENTS + "a.wav\t0\t1\tpeople talking\n"
    hint = rf"{said}'? \(did you mean 'people talking'\?\)|'{said}' \(did you mean 'people talking'\?\)"
    for estimate in (
        put(tmp_path / "events.tsv", f"{EVENTS}a.wav\t0\t1\t{said}\n"),
        put(tmp_path / "boxes.tsv", f"filename\tonset\toffset\tevent_label\tscore\na.wav\t0\t1\t{said}\t0.1\n"),
        put(tmp_path / "points/0.1.tsv", f"{EVENTS}a.wav\t0\t1\t{said}\n").parent,
        put(tmp_path / "tags.tsv", f"filename\tevent_labels\na.wav\t{said}\n"),
        put(tmp_path / "probabilities.tsv", f"filename\t{said}\na.wav\t0.5\n"),
        put(tmp_path / "frames.tsv", f"filename\tonset\toffset\t{said}\na.wav\t0\t1\t0.5\n"),
        put(tmp_path / "folder/a.tsv", f"onset\toffset\t{said}\n0\t1\t0.5\n").parent,
    ):
        with pytest.raises(AvsedError, match=hint):
            score(tmp_path, estimate, reference)


def test_classes_that_one_side_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = put(tmp_path / "e.tsv", "filename\tCow\tDog\na.wav\t0.5\t1\nb.wav\t0.5\t1\n")
    with pytest.raises(
        ScoresError, match=r"unknown classes: 'Cow'.*; known: Cat, Dog\n.*--set 'data\.labels=\[Cat, Dog, Cow\]'"
    ):
        score(tmp_path, scores)
    found = score(tmp_path, scores, settings=["data.labels=[Cat, Cow, Dog]"])
    assert "e.tsv: no scores for Cat: counted as never detected" in capsys.readouterr().err
    assert (found.clip.classes["Cat"].estimated, found.clip.classes["Cow"].estimated) == (0, 2)
    assert (found.clip.classes["Dog"].correct, found.clip.classes["Cat"].reference) == (2, 1)


# --- times that do not fit ---

LENGTHS = "a.wav\t10\nb.wav\t10\n"


@pytest.mark.parametrize(
    ("factor", "hint"), [(1000, "milliseconds. divide them by 1000"), (44100, "samples"), (50, "frames")]
)
@pytest.mark.parametrize("durations", [LENGTHS, None])
def test_times_of_another_unit_are_refused(tmp_path: Path, factor: int, hint: str, durations: str | None) -> None:
    rows = [("a.wav", 3, 9, "Dog"), ("b.wav", 4, 8, "Dog"), ("b.wav", 8, 10, "Cat")]

    def table(times: int) -> str:
        return EVENTS + "".join(f"{clip}\t{on * times}\t{off * times}\t{label}\n" for clip, on, off, label in rows)

    with pytest.raises(AnnotationError, match=rf"e\.tsv: a\.wav: Dog ends at .*{hint}"):
        score(tmp_path, put(tmp_path / "e.tsv", table(factor)), table(1), durations)
    text = FRAMES + frames(*[(0.1, 0.1)] * 10, period=factor)
    for clip in "ab":
        put(tmp_path / f"scores/{clip}.tsv", text)
    with pytest.raises(AnnotationError, match=rf"scores: the frames of \w\.wav end at .*{hint}"):
        score(tmp_path, tmp_path / "scores", table(1), durations)
    if durations is not None:
        with pytest.raises(AnnotationError, match=rf"reference\.tsv: a\.wav: Dog ends at .*{hint}"):
            score(tmp_path, put(tmp_path / "e.tsv", table(1)), table(factor), durations)


def test_odd_times_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: Any, **options: Any) -> str:
        score(tmp_path, *arguments, **options)
        return capsys.readouterr().err

    whole = EVENTS + "a.wav\t2000\t3000\tDog\na.wav\t4000\t9000\tCat\nb.wav\t0\t9000\tDog\n"
    assert "all times are whole numbers, most above 1000" in told(put(tmp_path / "e.tsv", whole), whole)
    assert "is one of them not in seconds?" in told(put(tmp_path / "e.tsv", REFERENCE), whole)
    late = put(tmp_path / "e.tsv", EVENTS + "a.wav\t9\t11\tDog\nb.wav\t1\t2\tDog\n")
    assert "e.tsv:2: a.wav: Dog ends at 11 s, but the clip at 10 s" in told(late, durations=LENGTHS)
    fine = put(tmp_path / "e.tsv", REFERENCE)
    assert "reference.tsv:3: a.wav: Cat ends at 3 s, but the clip at 2 s" in told(
        fine, durations="a.wav\t2\nb.wav\t2\n"
    )
    assert "1 of 2 clips have no duration, such as 'b.wav'" in told(fine, durations="a.wav\t10\n")
    assert "are they milliseconds?" in told(fine, durations="a.wav\t10000\nb.wav\t10000\n")
    assert "warning" not in told(fine, durations=LENGTHS)
    short = folder(tmp_path, a=A, b=B)
    assert "the frames of 2 of 2 clips stop before the clip, such as a.wav: 3 s of 10 s" in told(
        short, durations=LENGTHS
    )
    assert "warning" not in told(short)
    folder(tmp_path, b=frames((0.1, 0.2)))
    assert "the frames of 1 of 2 clips stop before the clip, such as b.wav: 1 s of 2 s" not in told(
        short
    )  # a frame at most
    folder(tmp_path, b=frames((0.1, 0.2), period=0.5))
    assert "the frames of 1 of 2 clips stop before the clip, such as b.wav: 0.5 s of 2 s" in told(short)
    assert "the frames of 1 of 2 clips go on after the clip's end, such as a.wav: 3 s of 1.5 s" in told(
        short, durations="a.wav\t1.5\nb.wav\t0.5\n"
    )


# --- real annotations ---


def test_the_real_output_of_the_baseline_of_dcase_2018_scores_as_boxes_and_points_as_it_does_as_events(
    shared: Path, tmp_path: Path
) -> None:
    home = shared / "dcase2018_task4"
    reference, estimate = home / "metadata/eval/eval.csv", home / "baseline_system_on_eval.csv"
    events = read_events(estimate, duplicates="keep")
    expected = commands.score(reference, estimate).to_dict()["event"]
    rows = [(clip, *event) for clip, own in events.items() for event in own]
    boxes = "".join(
        f"{clip}\t{on}\t{off}\t{label}\t{0.5 + 0.001 * (n % 9)}\n" for n, (clip, on, off, label) in enumerate(rows)
    )
    found = commands.score(reference, put(tmp_path / "b.tsv", EVENTS.replace("\n", "\tconfidence\n") + boxes))
    assert found.to_dict()["event"] == expected
    points = tmp_path / "points/0.5.tsv"
    put(points, estimate.read_text())
    put(points.with_name("0.9.tsv"), EVENTS)
    found = commands.score(reference, points.parent, settings=["postprocessing.threshold=0.5"])
    assert found.to_dict()["event"] == expected


# --- names ---


@pytest.mark.parametrize("kind", ["events", "boxes", "points", "tags", "probabilities", "table", "scores"])
def test_clips_match_without_folders_and_endings_if_asked_for(tmp_path: Path, kind: str) -> None:
    head, row = "filename\tonset\toffset\tevent_label", "\t0\t1\tDog"
    own = {
        "events": f"{head}\nvideo/a.mp4{row}\n",
        "boxes": f"{head}\tscore\nvideo/a.mp4{row}\t0.9\n",
        "points": f"{head}\tthreshold\nvideo/a.mp4{row}\t0.5\n",
        "tags": "filename\tevent_labels\nvideo/a.mp4\tDog\n",
        "probabilities": "filename\tDog\nvideo/a.mp4\t0.9\n",
        "table": "filename\tonset\toffset\tDog\nvideo/a.mp4\t0\t1\t0.9\n",
    }
    if kind == "scores":
        path = tmp_path / "e.safetensors"
        write_scores(
            path, [Scores("video/a.mp4", ("Dog",), np.float32([[0.9]]), np.array([0.0, 1.0]), np.float32([0.9]))]
        )
    else:
        path = put(tmp_path / "e.tsv", own[kind])
    reference = put(tmp_path / "r.tsv", f"{head}\naudio/a.wav{row}\n")
    with pytest.raises(AnnotationError, match=r"would match without folders and endings: .* give --match stem"):
        commands.score(reference, path)
    assert commands.score(reference, path, match="stem").clip.micro.f1 == 1.0
    with pytest.raises(AnnotationError, match="give --match stem"):
        commands.score(reference, path, match="name")
    with pytest.raises(ConfigError, match="--match all: expected exact or name or stem"):
        commands.score(reference, path, match="all")
    put(tmp_path / "r.tsv", f"{head}\naudio/a.wav{row}\na.flac{row}\n")
    with pytest.raises(ScoresError, match=r"the reference has 2 clips of this name: audio/a\.wav, a\.flac"):
        commands.score(reference, path, match="stem")


def test_frame_scores_are_taken_as_they_are_or_as_was_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.float32([[0.1], [0.9], [0.1], [0.4], [0.1]])
    path = tmp_path / "e.safetensors"
    write_scores(path, [Scores("a.wav", ("Dog",), frames, np.arange(6.0), np.float32([0.9]))])
    reference = put(tmp_path / "r.tsv", "filename\tonset\toffset\tevent_label\na.wav\t1\t2\tDog\n")
    assert commands.score(reference, path).event.micro.f1 == 1.0  # which the paper's median filter would drop
    assert "decisions: median_filter 1, threshold 0.5 (--set postprocessing" in capsys.readouterr().err
    preset = put(tmp_path / "low.yaml", "postprocessing: {threshold: 0.3, median_filter: 1}\n")
    assert commands.score(reference, path, postprocessing=preset).event.micro.estimated == 2
    with pytest.raises(ConfigError, match="give one of them"):
        commands.score(reference, path, postprocessing=preset, settings=["postprocessing.threshold=0.3"])


def test_post_processing_of_what_has_no_scores_is_refused(tmp_path: Path) -> None:
    table = put(tmp_path / "e.tsv", "filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDog\n")
    with pytest.raises(ConfigError, match=r"e\.tsv: post-processing is of scores"):
        commands.score(table, table, settings=["postprocessing.threshold=0.3"])


def test_durations_in_milliseconds_are_told_by_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    write_scores(path, [Scores("a.wav", ("Dog",), np.float32([[0.9]] * 10), np.arange(11.0), np.float32([0.9]))])
    reference = put(tmp_path / "r.tsv", "filename\tonset\toffset\tevent_label\na.wav\t1\t2\tDog\n")
    durations = put(tmp_path / "d.tsv", "filename\tduration\na.wav\t10000\n")
    with pytest.raises(
        AnnotationError, match=r"the duration of a\.wav is 10000, but its frames end at 10 s; .*milliseconds"
    ):
        commands.score(reference, path, durations=durations)
