"""The numbers that the output of other systems is given against a reference, whatever its form."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from estimates import EVENTS, FRAMES, PLAIN, REFERENCE, A, B, folder, put, score
from rich.console import Console

from avsed import commands
from avsed.errors import AnnotationError, ConfigError
from avsed.exchange.score_tables import read_score_folder
from avsed.scores import Scores, write_scores
from avsed.tables import read_events


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


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["filename\tonset\toffset\tevent_label", *rows]) + "\n")
    return path


def test_score_tells_what_is_odd_about_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = write(tmp_path / "r.tsv", "a\t0\t2\tDog", "a\t1\t3\tDog", "a\t0\t2\tDog")
    estimate = write(tmp_path / "e.tsv", "a\t0\t2\tDog", "a\t0\t2\tDog")
    found = commands.score(reference, estimate)
    told = capsys.readouterr().err
    assert "r.tsv:4: a: the same event as in line 2; dropped" in told
    assert "r.tsv:3: a: Dog at 1 s begins before" in told
    assert (found.event.micro.reference, found.event.micro.estimated, found.event.micro.correct) == (2, 2, 1)
    assert isinstance(next(found.render()), str)
    many = write(tmp_path / "m.tsv", *(f"a\t{n}\t{n + 2}\tDog" for n in range(50)))
    commands.score(many, estimate)
    assert "… and 30 more" in capsys.readouterr().err  # 49 overlaps in the reference, one in the estimate
    write(tmp_path / "bad.tsv", "a\t2\t1\tDog")
    with pytest.raises(AnnotationError, match=r"bad\.tsv:2"):
        commands.score(reference, tmp_path / "bad.tsv")


def test_score_needs_to_know_the_classes(tmp_path: Path) -> None:
    silent = write(tmp_path / "r.tsv", "a\t\t\t")
    with pytest.raises(AnnotationError, match=r"r\.tsv: no events.*--set 'data\.labels="):
        commands.score(silent, silent)
    assert commands.score(silent, silent, settings=["data.labels=[Dog]"]).event.micro.reference == 0
