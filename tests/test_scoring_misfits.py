"""Estimates that do not fit their reference: other clips, classes or times are named, with what they may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimates import EVENTS, FRAMES, PLAIN, REFERENCE, A, B, folder, frames, put, score

from avsed import commands
from avsed.errors import AnnotationError, AvsedError, ConfigError, ScoresError
from avsed.scores import Scores, write_scores

# --- clips ---


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


# --- classes ---


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


# --- times ---


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


def test_durations_in_milliseconds_are_told_by_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    write_scores(path, [Scores("a.wav", ("Dog",), np.float32([[0.9]] * 10), np.arange(11.0), np.float32([0.9]))])
    reference = put(tmp_path / "r.tsv", "filename\tonset\toffset\tevent_label\na.wav\t1\t2\tDog\n")
    durations = put(tmp_path / "d.tsv", "filename\tduration\na.wav\t10000\n")
    with pytest.raises(
        AnnotationError, match=r"the duration of a\.wav is 10000, but its frames end at 10 s; .*milliseconds"
    ):
        commands.score(reference, path, durations=durations)
