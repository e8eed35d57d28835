"""Damaged recordings: what is lost is told and the rest keeps its time, or the file is refused by name."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from recordings import RATE, click, click_time, pictures, tone, write_video

from avsed.errors import MediaError
from avsed.media import MediaWarning, read_audio, read_images, write_clip


def rewritten(path: Path, to: Path, change: Callable[[int, av.Packet], av.Packet | None]) -> None:
    """The packets of a file's first stream, each changed or left out, in a new file."""
    with av.open(str(path)) as source, av.open(str(to), "w") as target:
        stream = source.streams[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
            if (changed := change(number, packet)) is not None:
                changed.stream = copy
                target.mux(changed)


def garbage(packet: av.Packet) -> av.Packet:
    """A packet of the same time and size that no decoder takes."""
    bad = av.Packet(b"\xff" * packet.size)
    bad.pts, bad.dts, bad.duration, bad.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return bad


def noise_pictures(count: int) -> list[np.ndarray]:
    """A pattern that moves, so that every packet is large."""
    pattern = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    return [np.roll(pattern, number, axis=1) for number in range(count)]


@pytest.mark.parametrize(("codec", "rate"), [("aac", 48000), ("libopus", 48000), ("flac", 16000)])
def test_what_follows_a_missing_packet_keeps_its_time(tmp_path: Path, codec: str, rate: int) -> None:
    write_clip(tmp_path / "whole.mkv", samples=click(round(1.5 * rate), rate), rate=rate, audio_codec=codec)
    rewritten(tmp_path / "whole.mkv", tmp_path / "lost.mkv", lambda number, p: None if number == 3 else p)
    with pytest.warns(MediaWarning, match=r"lost\.mkv: no sound for 0\.\d+ s \(1 place, first at .*taken as silence"):
        assert click_time(tmp_path / "lost.mkv", rate) == pytest.approx(1.0, abs=0.002)


def test_a_damaged_packet_is_passed_over_and_mostly_damaged_sound_is_an_error(tmp_path: Path) -> None:
    write_clip(tmp_path / "good.mkv", samples=click(RATE * 3 // 2, RATE), rate=RATE)
    rewritten(tmp_path / "good.mkv", tmp_path / "bad.mkv", lambda number, p: garbage(p) if number == 20 else p)
    with pytest.warns(MediaWarning) as said:
        assert click_time(tmp_path / "bad.mkv", RATE) == pytest.approx(1.0, abs=0.002)
    texts = [str(warning.message) for warning in said]
    assert any("the decoder rejects 1 of its 66 audio packets: passed over" in text for text in texts)
    assert any("no sound for 0.023 s (1 place, first at 0.4" in text for text in texts)
    rewritten(tmp_path / "good.mkv", tmp_path / "worse.mkv", lambda number, p: garbage(p) if number % 3 else p)
    with pytest.raises(MediaError, match=r"worse\.mkv: the decoder rejects 4\d of its 66 audio packets"):
        read_audio(tmp_path / "worse.mkv", rate=RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_that_is_no_number_is_an_error_at_its_time(tmp_path: Path, value: float) -> None:
    samples = tone(2.0)
    samples[round(1.5 * RATE)] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    for rate in (RATE, 22100):
        with pytest.raises(MediaError, match=r"a\.wav: its sound at 1\.500 s is no finite number"):
            read_audio(tmp_path / "a.wav", rate=rate)


def test_a_pause_is_silent_and_reported_and_a_broken_time_stamp_is_an_error(tmp_path: Path) -> None:
    def delayed(seconds: float) -> Callable[[int, av.Packet], av.Packet]:
        def change(number: int, packet: av.Packet) -> av.Packet:
            if number >= 30 and packet.pts is not None:
                packet.pts += round(seconds / packet.time_base)
                packet.dts = packet.pts
            return packet

        return change

    write_clip(tmp_path / "good.mkv", samples=click(RATE * 3 // 2, RATE), rate=RATE)
    plain = read_audio(tmp_path / "good.mkv", rate=RATE)
    rewritten(tmp_path / "good.mkv", tmp_path / "pause.mkv", delayed(2.5))
    with pytest.warns(MediaWarning, match=r"no sound for 2\.50\d s \(1 place, first at 0\.67 s\)"):
        paused = read_audio(tmp_path / "pause.mkv", rate=RATE)
    assert paused.duration - plain.duration == pytest.approx(2.5, abs=0.002)
    assert not paused.samples[RATE : 3 * RATE].any()
    assert np.array_equal(paused.samples[: RATE // 2], plain.samples[: RATE // 2])
    rewritten(tmp_path / "good.mkv", tmp_path / "week.mkv", delayed(7 * 86400))
    with pytest.raises(MediaError, match=r"week\.mkv: its time stamps jump by 604800 s at 0\.67 s: it is damaged"):
        read_audio(tmp_path / "week.mkv", rate=RATE)


def test_damaged_pictures_are_passed_over(tmp_path: Path) -> None:
    write_video(tmp_path / "good.mkv", noise_pictures(30), itertools.count(0, 0.1), g="1", crf="18")
    rewritten(tmp_path / "good.mkv", tmp_path / "bad.mkv", lambda n, p: garbage(p) if n in (7, 8) else p)
    with pytest.warns(MediaWarning, match=r"bad\.mkv: the decoder rejects 2 of its 30 video packets: passed over"):
        shown = read_images(tmp_path / "bad.mkv", size=8, times=[0.65, 0.75, 0.85, 0.95, 99])
    assert shown.times == pytest.approx([0.6, 0.6, 0.6, 0.9, 2.9], abs=1e-3)
    rewritten(tmp_path / "good.mkv", tmp_path / "worse.mkv", lambda n, p: garbage(p) if n > 5 else p)
    with pytest.raises(MediaError, match=r"rejects 24 of its 30 video packets .*it is damaged"):
        read_images(tmp_path / "worse.mkv", size=8)


def test_concealed_damage_is_not_passed_off_as_a_picture(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", noise_pictures(20), itertools.count(0, 0.1), crf="18")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    with av.open(str(tmp_path / "a.mp4")) as container:
        tenth = list(container.demux(video=0))[10]
    assert tenth.pos is not None
    middle = tenth.pos + tenth.size // 2
    data[middle : middle + 40] = bytes(40)
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.warns(MediaWarning, match="video packets: passed over"):
        assert len(read_images(tmp_path / "bad.mp4", size=8).times) < 20


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.avi", "pcm_s16le")])
def test_cut_sound_files_are_errors(tmp_path: Path, name: str, codec: str) -> None:
    write_clip(tmp_path / name, samples=tone(2), rate=RATE, audio_codec=codec)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"ends after \d\.\d+ s.*it is cut short"):
        read_audio(tmp_path / f"cut-{name}", rate=RATE)


def test_an_mp3_cut_short_is_reported(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp3", samples=tone(3), rate=RATE, audio_codec="libmp3lame")
    whole = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(MediaWarning, match=r"ends after 1\.\d+ s of the 3\.00 s that it states"):
        assert read_audio(tmp_path / "cut.mp3", rate=RATE).duration == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_file_cut_short_is_an_error_and_not_zeros(tmp_path: Path, name: str) -> None:
    webm = name.endswith("webm")
    audio_codec, video_codec = ("libopus", "libvpx") if webm else ("aac", "libx264")
    rate = 48000 if webm else RATE
    noise = (0.3 * np.random.default_rng(0).standard_normal(4 * rate)).astype(np.float32).clip(-1, 1)
    images = noise_pictures(40)
    write_clip(
        tmp_path / name,
        samples=noise,
        rate=rate,
        images=images,
        fps=10,
        audio_codec=audio_codec,
        video_codec=video_codec,
    )
    assert read_audio(tmp_path / name, rate=rate).duration == pytest.approx(4.0, abs=0.05)
    whole = (tmp_path / name).read_bytes()
    for share in (0.02, 0.3, 0.6, 0.8):
        (tmp_path / f"cut-{name}").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(MediaError, match=f"cut-{name}"):
            read_audio(tmp_path / f"cut-{name}", rate=rate)
        with pytest.raises(MediaError, match=f"cut-{name}"):
            read_images(tmp_path / f"cut-{name}", size=8)
        with pytest.raises(MediaError, match=f"cut-{name}"):  # the last picture is not held to the end
            read_images(tmp_path / f"cut-{name}", size=8, times=[0.0, 3.9])


def test_damaged_bytes_end_in_samples_or_an_error(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", samples=tone(2), rate=RATE, images=pictures(20), fps=10)
    good = (tmp_path / "a.mp4").read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for number in range(40):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), 1 + number):
            bad[place] = random.integers(0, 256)
        path = tmp_path / "bad.mp4"
        path.write_bytes(bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MediaWarning)
            for kind, read in (
                ("sound", lambda p: read_audio(p, rate=RATE).duration),
                ("pictures", lambda p: read_images(p, size=8, rate=5).times[-1]),
            ):
                try:
                    assert read(path) < 4
                    outcomes.add((kind, "read"))
                except MediaError as error:
                    assert "bad.mp4" in str(error)
                    outcomes.add((kind, "refused"))
    assert outcomes == set(itertools.product(("sound", "pictures"), ("read", "refused")))
