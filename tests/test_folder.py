"""Data sets as folders: what is found, what is missing, what 'avsed check' says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from avsed.data.check import check_data
from avsed.data.folder import SplitSource, fingerprint, open_data
from avsed.errors import AnnotationError
from avsed.media import write_clip


def put(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.zeros(round(16000 * seconds), np.float32)
    write_clip(path, samples=samples, rate=16000, audio_codec="pcm_s16le" if path.suffix == ".wav" else "aac")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path / "metadata/weak.tsv", "filename\tevent_labels\na.wav\tDog,Cat\nb.wav\tDog\n")
    write(tmp_path / "metadata/unlabeled.tsv", "filename\nu.wav\n")
    write(tmp_path / "metadata/test.tsv", "filename\tonset\toffset\tevent_label\nt.wav\t0.1\t0.5\tDog\nn.wav\t\t\t\n")
    write(tmp_path / "metadata/test_durations.tsv", "filename\tduration\nt.wav\t1.0\nn.wav\t1.0\n")
    for name in ("weak/a", "weak/b", "unlabeled/u", "test/t", "test/n"):
        put(tmp_path / f"clips/{name}.wav")
    return tmp_path


def test_the_usual_layout(data: Path) -> None:
    found = open_data(data)
    assert found.labels == ("Cat", "Dog")
    assert {name: (split.kind, len(split.clips)) for name, split in found.splits.items()} == {
        "weak": ("weak", 2),
        "unlabeled": ("unlabelled", 1),
        "test": ("strong", 2),
    }
    assert found.splits["test"].events == {"t.wav": [(0.1, 0.5, "Dog")], "n.wav": []}
    assert found.splits["test"].durations == {"t.wav": 1.0, "n.wav": 1.0}
    assert found.problems == ()


def test_a_folder_of_recordings_with_a_table_of_tags(tmp_path: Path) -> None:
    write(tmp_path / "tags.csv", "filename,event_labels\none.mp4,Dog\ntwo.mp4,\n")
    put(tmp_path / "one.mp4")
    put(tmp_path / "two.mp4")
    found = open_data(tmp_path)
    assert found.labels == ("Dog",)
    assert found.split("weak").tags == {"one.mp4": {"Dog"}, "two.mp4": set()}


def test_a_dcase_layout_by_description_and_videos_for_wav_names(tmp_path: Path) -> None:
    write(tmp_path / "metadata/train/weak.csv", "filename\tevent_labels\nY1_0.0_10.0.wav\tDog\n")
    put(tmp_path / "video/train/weak/Y1_0.0_10.0.mp4")
    source = SplitSource(table=Path("metadata/train/weak.csv"), media=Path("video/train/weak"))
    found = open_data(tmp_path, splits={"weak": source})
    assert found.split("weak").clips[0].path.name == "Y1_0.0_10.0.mp4"


def test_missing_recordings_are_counted(data: Path) -> None:
    (data / "clips/weak/a.wav").unlink()
    with pytest.raises(AnnotationError, match=r"weak\.tsv: 1 of 2 recordings are missing: a\.wav"):
        open_data(data)
    dropped = open_data(data, missing="drop")
    assert [clip.name for clip in dropped.split("weak").clips] == ["b.wav"]
    assert dropped.split("weak").tags == {"b.wav": {"Dog"}}
    assert [problem.severity for problem in dropped.problems] == ["warning"]


def test_every_missing_recording_is_listed_and_the_screen_shows_twenty(data: Path) -> None:
    write(data / "metadata/weak.tsv", "filename\tevent_labels\n" + "".join(f"m{n}.wav\tCat,Dog\n" for n in range(25)))
    with pytest.raises(AnnotationError, match=r"25 of 25 recordings are missing: m0\.wav, m1\.wav, .*, …"):
        open_data(data)
    report = check_data(data)
    errors = [problem for problem in report.to_dict()["problems"] if problem["severity"] == "error"]
    assert [(error["line"], error["message"]) for error in errors] == [
        (number + 2, f"m{number}.wav: no recording found") for number in range(25)
    ]
    assert report.splits["weak"].missing == 25
    shown = [part for part in report.render() if isinstance(part, str)]
    assert sum("no recording found" in part for part in shown) == 20
    assert "… and 5 more errors (--json lists all)" in shown


def test_many_missing_recordings_hide_nothing_else(data: Path) -> None:
    rows = "".join(f"m{n}.wav\tCat,Dog\n" for n in range(40))
    write(data / "metadata/weak.tsv", "filename\tevent_labels\n" + rows)
    (data / "clips/unlabeled/u.wav").write_bytes(b"no recording")
    shown = [part for part in check_data(data).render() if isinstance(part, str) and part.startswith("error")]
    assert ["no recording found" in part for part in shown] == [True] * 5 + [False] + [True] * 14
    assert "u.wav" in shown[5]


def test_a_recording_added_later_is_found(data: Path) -> None:
    (data / "clips/unlabeled/u.wav").unlink()
    assert open_data(data, missing="drop").split("unlabeled").missing == ("u.wav",)
    put(data / "clips/unlabeled/u.mp4")
    assert open_data(data).split("unlabeled").missing == ()


def test_a_table_without_clips_is_an_error(data: Path) -> None:
    write(data / "metadata/test.tsv", "filename\tonset\toffset\tevent_label\n")
    with pytest.raises(AnnotationError, match=r"test\.tsv: names no clips"):
        open_data(data)


def test_a_strong_table_may_lack_its_header(data: Path) -> None:
    write(data / "metadata/test.tsv", "t.wav\t0.1\t0.5\tDog\nn.wav\t\t\t\n")
    assert open_data(data).split("test").events == {"t.wav": [(0.1, 0.5, "Dog")], "n.wav": []}


def test_unknown_labels_and_nothing_to_open_are_named(data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(data / "metadata/test.tsv", "filename\tonset\toffset\tevent_label\nt.wav\t0.1\t0.5\tdog\n")
    with pytest.raises(AnnotationError, match=r"t\.wav: unknown label 'dog' \(did you mean 'Dog'\?\)"):
        open_data(data)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(AnnotationError, match=r"no tables of labels; expected metadata/weak\.tsv"):
        open_data(empty)
    with pytest.raises(AnnotationError, match="no such folder"):
        open_data(empty / "absent")
    with pytest.raises(AnnotationError, match=r"no split 'validatoin'.*weak"):
        open_data(data, missing="report").split("validatoin")


def test_a_recording_in_two_splits_is_warned_of(data: Path) -> None:
    write(data / "metadata/unlabeled.tsv", "filename\na.wav\n")
    (data / "clips/unlabeled/u.wav").unlink()
    (data / "clips/unlabeled/a.wav").symlink_to(data / "clips/weak/a.wav")
    problems = open_data(data).problems
    assert [problem.message for problem in problems] == ["1 recordings are in weak and unlabeled: a.wav"]


def test_the_fingerprint_depends_on_names_and_labels_only(data: Path) -> None:
    before = fingerprint(open_data(data).split("weak"))
    write(data / "metadata/weak.tsv", 'filename,event_labels\nb.wav,Dog\na.wav,"Cat,Dog"\n')
    assert fingerprint(open_data(data).split("weak")) == before
    write(data / "metadata/weak.tsv", 'filename,event_labels\nb.wav,Cat\na.wav,"Cat,Dog"\n')
    assert fingerprint(open_data(data).split("weak")) != before


def test_the_fingerprint_does_not_depend_on_the_order_of_events(data: Path) -> None:
    rows = ["t.wav\t0.1\t0.5\tDog", "t.wav\t0.2\t0.4\tCat", "n.wav\t\t\t"]
    marks = []
    for order in (rows, rows[::-1]):
        write(data / "metadata/test.tsv", "\n".join(["filename\tonset\toffset\tevent_label", *order]))
        marks.append(fingerprint(open_data(data).split("test")))
    assert marks[0] == marks[1]


def test_labels_with_brackets_are_shown_as_they_are(data: Path) -> None:
    write(data / "metadata/weak.tsv", "filename\tevent_labels\na.wav\tDog,Cat [/x]\nb.wav\tDog [red]\n")
    text = io.StringIO()
    Console(file=text, width=200).print(*(part for part in check_data(data).render() if not isinstance(part, str)))
    assert "Cat [/x]" in text.getvalue()
    assert "Dog [red]" in text.getvalue()


def test_check_says_what_there_is(data: Path) -> None:
    put(data / "clips/weak/b.wav", 3.0)
    report = check_data(data)
    assert not report.failed(strict=False)
    weak = report.splits["weak"]
    assert (weak.present, weak.missing, weak.unreadable, weak.with_video) == (2, 0, 0, 0)
    assert (weak.shortest, weak.longest) == pytest.approx((1.0, 3.0))
    assert weak.hours == pytest.approx(4 / 3600)
    assert weak.clips == {"Dog": 2, "Cat": 1}
    assert report.splits["test"].events == {"Dog": (1, pytest.approx(0.4))}
    assert report.splits["test"].silent == 1
    json.dumps(report.to_dict(), allow_nan=False)
    assert list(report.render())


def test_check_lists_all_that_is_wrong(data: Path) -> None:
    (data / "clips/weak/a.wav").write_bytes(b"broken")
    (data / "clips/unlabeled/u.wav").unlink()
    write(data / "metadata/test_durations.tsv", "filename\tduration\nt.wav\t9.0\nn.wav\t1.0\n")
    report = check_data(data)
    assert report.failed()
    said = [str(problem) for problem in report.problems if problem.severity == "error"]
    assert any("a.wav: cannot be decoded" in text for text in said)
    assert any("unlabeled.tsv:2: u.wav: no recording found" in text for text in said)
    warned = [str(problem) for problem in report.problems if problem.severity == "warning"]
    assert any("t.wav: is 1.00 s long, but its table says 9.00 s" in text for text in warned)
    assert any("no clip of split 'test' has Cat" in text for text in warned)


def test_warnings_fail_only_when_strict(data: Path) -> None:
    write(data / "metadata/unlabeled.tsv", "filename\nu.wav\nu.wav\n")
    write(data / "metadata/weak.tsv", "filename\tevent_labels\na.wav\tDog\nb.wav\tDog\n")
    report = check_data(data)
    assert report.count("warning") == 1
    assert not report.failed()
    assert report.failed(strict=True)


def test_check_of_the_real_set(shared: Path) -> None:
    report = check_data(shared / "avscenes")
    assert not report.failed(strict=True)
    assert {name: split.present for name, split in report.splits.items()} == {
        "weak": 400,
        "unlabeled": 480,
        "validation": 80,
        "test": 200,
    }
    assert all(split.with_video == split.present for split in report.splits.values())
