"""Frame scores as tables: written and read again, and refused with file, line and column where they are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from estimates import FRAMES, A, B, put
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avsed.errors import ScoresError
from avsed.exchange.score_tables import read_score_folder, read_score_table, stem, write_score_tables
from avsed.scores import Scores


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
