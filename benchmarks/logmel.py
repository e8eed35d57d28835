"""How quick log-mel features are: one 10 s signal against librosa, and a folder of recordings against decoding alone.

Run ``python benchmarks/logmel.py [--data FOLDER] [--workers N] [--repeats N]``; librosa is needed for the comparison
only. Both are timed in turn after a warm-up, kept to one thread and free to use one a core, each in a process of its own,
because BLAS reads their number once. Medians are shown, and the quickest, since other work on the machine only adds
time; beside them numpy's FFT of the same frames alone, in one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROUNDS = 10
SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of recordings, searched with its subfolders")
    parser.add_argument("--workers", type=int, help="processes for the folder; default: one a core")
    parser.add_argument("--repeats", type=int, default=10, help=f"repetitions in each of {ROUNDS} rounds")
    parser.add_argument("--signal", action="store_true", help=argparse.SUPPRESS)  # one process of `compare`
    arguments = parser.parse_args()
    if arguments.signal:
        print(json.dumps(time_signal(arguments.repeats)))
        return
    compare(arguments.repeats)
    if arguments.data is not None:
        files = sorted(path for path in arguments.data.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            parser.error(f"--data {arguments.data}: holds no recordings")
        time_folder(files, arguments.workers)


def compare(repeats: int) -> None:
    """Print the table of one signal, with the threads of both ways kept to one and as they are by themselves."""
    from avsed.features.threads import LIMITS, available_cores

    bare = {name: value for name, value in os.environ.items() if name not in LIMITS}
    print("log-mel of 10 s from samples, ms: median (quickest)")
    for name, limits in (("1 thread", dict.fromkeys(LIMITS, "1")), (f"{available_cores()} cores", {})):
        command = [sys.executable, __file__, "--signal", "--repeats", str(repeats)]
        output = subprocess.run(command, env=bare | limits, check=True, capture_output=True, text=True).stdout
        times = json.loads(output)
        columns = "   ".join(
            f"{name} {1e3 * median:6.2f} ({1e3 * least:.2f})" for name, (median, least) in times.items()
        )
        ratio = ""
        if "librosa" in times:
            median, least = (times["librosa"][k] / times["avsed"][k] for k in (0, 1))
            ratio = f"   avsed is {median:.1f} times as quick ({least:.1f})"
        print(f"  {name + ':':<10}{columns}{ratio}")


def time_signal(repeats: int) -> dict[str, tuple[float, float]]:
    """Median and least seconds of each way to compute the log-mel map of 10 s of noise."""
    import numpy as np

    from avsed.features.logmel import PIECE, LogMelParameters, log_mel
    from avsed.features.threads import allowed_threads

    parameters = LogMelParameters()
    generator = np.random.default_rng(0)
    samples = generator.standard_normal(10 * parameters.rate).astype(np.float32)
    frames = generator.standard_normal((PIECE, parameters.window))
    spectra = np.empty((PIECE, parameters.window // 2 + 1), np.complex128)

    def transform() -> np.ndarray:
        for first in range(0, count, PIECE):
            np.fft.rfft(frames[: count - first], out=spectra[: count - first])
        return spectra

    ways: dict[str, Callable[[], np.ndarray]] = {
        "avsed": lambda: log_mel(samples, parameters, threads=allowed_threads()),
        "FFT": transform,
    }
    count = len(ways["avsed"]())
    try:
        import librosa
    except ImportError:
        print("librosa is not installed: no comparison", file=sys.stderr)
    else:

        def reference() -> np.ndarray:
            mel = librosa.feature.melspectrogram(
                y=samples / np.abs(samples).max(),
                sr=parameters.rate,
                n_fft=parameters.window,
                hop_length=parameters.hop,
                pad_mode="constant",
                power=1.0,
                n_mels=parameters.bands,
                fmin=parameters.lowest,
                fmax=parameters.highest,
            )
            return np.log(np.maximum(mel, parameters.floor)).T

        ways["librosa"] = reference
        difference = float(np.abs(reference() - ways["avsed"]()).max())
        if difference > 1e-4:
            raise SystemExit(f"avsed and librosa differ by {difference:.1e}: the times would say nothing")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turn, since other work on the machine comes and goes
        for name, way in ways.items():
            time.sleep(0.3)  # BLAS threads of the way before spin for a while before they sleep
            for number in range(repeats + 3):
                began = time.perf_counter()
                way()
                if number >= 3:
                    taken[name].append(time.perf_counter() - began)
    return {name: (statistics.median(seconds), min(seconds)) for name, seconds in taken.items()}


def time_folder(files: Sequence[Path], workers: int | None) -> None:
    """Print clips per second of extraction into an empty store, of the same again, and of decoding alone."""
    from avsed.errors import MediaError
    from avsed.features.extraction import extract_features
    from avsed.features.logmel import LogMel
    from avsed.features.store import FeatureStore
    from avsed.media import read_audio

    clips = [(path.name, path) for path in files]
    for path in files:
        path.read_bytes()  # both ways from the file cache
    with tempfile.TemporaryDirectory() as folder:
        result = extract_features(clips, {"logmel": LogMel()}, FeatureStore(folder), workers=workers)
        began = time.perf_counter()
        again = extract_features(clips, {"logmel": LogMel()}, FeatureStore(folder), workers=workers)
        looked_up = time.perf_counter() - began
        began = time.perf_counter()
        for stored in again.files["logmel"]:
            if stored is not None:
                stored.load()
        loading = time.perf_counter() - began
    sample = files[:: max(1, len(files) // 100)]
    began = time.perf_counter()
    decoded = 0
    for path in sample:
        try:
            read_audio(path, rate=LogMel().rate)
            decoded += 1
        except MediaError:
            continue  # counted among the failures of the extraction
    rate = decoded / (time.perf_counter() - began)
    print(f"folder of {len(files)} recordings, {len(result.failures)} of which cannot be read")
    print(f"  extraction, {result.workers} processes: {result.clips_per_s:.1f} clips/s, with their start")
    print(f"  decoding alone, 1 process:  {rate:.1f} clips/s ({len(sample)} clips)")
    print(f"  extraction is {result.clips_per_s / rate / result.workers:.2f} of the decoding rate, for each process")
    print(f"  the same again: {again.cached} cached, looked up in {looked_up:.2f} s, loaded in {loading:.2f} s")


if __name__ == "__main__":
    main()
