"""What is no recording, or lacks the stream that is asked for, is refused by name and in time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from recordings import RATE, pictures, tone, write_video

from avsed.errors import MediaError
from avsed.media import probe, read_audio, read_images, write_clip


def test_a_missing_stream_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "sound.wav", samples=tone(0.5), rate=RATE, audio_codec="pcm_s16le")
    with pytest.raises(MediaError, match=r"sound\.wav: has no video stream"):
        read_images(tmp_path / "sound.wav", size=(8, 8))
    with pytest.raises(MediaError, match=r"sound\.wav: has 1 audio stream, but number 1"):
        read_audio(tmp_path / "sound.wav", rate=RATE, stream=1)
    write_video(tmp_path / "silent.mp4", pictures(1), [0.0])
    with pytest.raises(MediaError, match=r"silent\.mp4: has no audio stream"):
        read_audio(tmp_path / "silent.mp4", rate=RATE)
    assert len(read_images(tmp_path / "silent.mp4", size=(8, 8)).times) == 1


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names of files are text there")
def test_a_name_that_no_table_can_hold_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    soundfile.write(os.fsencode(path), tone(0.1), RATE)
    for read in (probe, lambda path: read_audio(path, rate=RATE)):
        with pytest.raises(MediaError, match="not UTF-8 text"):
            read(path)


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    (tmp_path / "notes.txt").write_text("not a video\n" * 50)  # which FFmpeg would draw
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile a.ts\n")
    (tmp_path / "titles.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n")
    write_clip(tmp_path / "a.ts", samples=tone(1), rate=RATE)
    assert read_audio(tmp_path / "a.ts", rate=RATE).duration > 1
    for name, message in (
        ("absent.mp4", "no such file"),
        ("", "not a file"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be decoded"),
        ("x" * 300, "cannot be decoded: file name too long"),
        ("notes.txt", "plain text"),
        ("list.m3u8", "a list of other files"),
        ("list.txt", "a list of other files"),
        ("titles.srt", "neither sound nor pictures"),
    ):
        for function in (probe, lambda p: read_audio(p, rate=RATE), lambda p: read_images(p, size=(8, 8))):
            with pytest.raises(MediaError, match=message):
                function(tmp_path / name)


READ_ALL = """
import sys, warnings
from pathlib import Path
from avsed.errors import MediaError
from avsed.media import probe, read_audio, read_images
warnings.simplefilter("ignore")
for path in sorted(Path(sys.argv[1]).iterdir()):
    said = []
    for function in (probe, lambda p: read_audio(p, rate=22100), lambda p: read_images(p, size=(32, 32), rate=2.0)):
        try:
            function(path)
            said.append("ok")
        except MediaError as error:
            assert path.name in str(error)
            said.append("error")
    print(path.name, *said, flush=True)
"""


def test_every_odd_file_is_read_or_refused_in_time(shared: Path) -> None:
    folder = shared / "odd_media"
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert len(said) == len(list(folder.iterdir()))
    for name in ("fixture.wav", "fixture.mp3", "fixture.flac", "fixture.opus", "fixture.m4a", "fixture.wma.asf"):
        assert said[name] == ["ok", "ok", "error"], name
    for name in ("fixture.webm", "fixture.mkv", "fixture.avi", "fixture.3gp", "fixture-mjpeg.mov"):
        assert said[name] == ["ok", "ok", "ok"], name
    for name in ("fixture-moov.mov", "fixture-isom.mp4", "fixture-corrupt.mkv", "fixture-mp4v2.mp4"):
        assert said[name] == ["error", "error", "error"], name
    assert said["fixture2.mkv"] == ["ok", "error", "error"]  # the first 1.7 s of 19 minutes
