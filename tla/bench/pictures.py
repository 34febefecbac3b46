"""Pictures and augmented copies beside the obvious way: librosa, one clip after the other.

The two ways take turns clip by clip on one thread, so that a machine that slows down slows them alike. The last
measurement is the store as it is used: decoding, starting worker processes and writing included.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tla.bench.rows import Row
from tla.options import Augment, Picture
from tla.sound.audio import read
from tla.sound.augment import Variation, draw, vary
from tla.sound.clips import Dataset
from tla.sound.spectrograms import FLOOR, WINDOWS_S, fft_length, picture, resolved, to_length, window_and_hop
from tla.sound.store import open_store
from tla.sound.workers import cores

AUGMENTED_CLIPS = 40  # enough for augmented copies: they take long, and about the same for each clip


class _Stopwatch(dict[str, float]):
    """Seconds by what was done."""

    def time(self, what: str, work: Callable[..., Any], *args: Any) -> Any:
        """What the work returns, its seconds added to those of its like."""
        start = time.perf_counter()
        result = work(*args)
        self[what] = self.get(what, 0.0) + time.perf_counter() - start
        return result


def bench_pictures(dataset: Dataset, options: Picture, *, clips: int = 400, workers: int | None = None) -> list[Row]:
    """Seconds per clip of decoding, pictures and augmented copies, for (resolved) options and the first `clips` clips."""
    from threadpoolctl import threadpool_limits

    workers = workers or cores()
    chosen = dataset.without(clip.name for clip in dataset.clips[clips:])
    _ = chosen.contents  # reading every clip once is not what is measured
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = open_store(chosen, options, Augment(kind="none"), Path(folder), on_bad_clip="skip", workers=workers)
        whole = time.perf_counter() - start
    with threadpool_limits(1):
        seconds, difference = _take_turns([clip.path for clip in store.dataset.clips], options)
    n = len(store.dataset.clips)
    varied = min(n, AUGMENTED_CLIPS)
    obvious, ours = seconds["obvious"], seconds["ours"]
    copy, our_copy = seconds["obvious copy"], seconds["our copy"]
    one_by_one = seconds["decode"] + obvious
    return [
        Row("pictures", "three pictures, librosa", obvious / n, "obvious", "one core"),
        Row("pictures", "three pictures, ours", ours / n, "ours", f"one core; differs by {difference:.1e} at most"),
        Row("store", "decoding alone", seconds["decode"] / n, "", f"{n} clips, one core"),
        Row("store", "decoding and pictures, librosa", one_by_one / n, "obvious", "one core"),
        Row("store", "the whole store, ours", whole / n, "ours", f"{workers} processes, from their start to files on disk"),
        Row("augmentation", "copy, librosa", copy / varied, "obvious", f"one core; {varied} clips, without the picture"),
        Row("augmentation", "copy, ours", our_copy / varied, "ours", "one core"),
    ]


def obvious_pictures(samples: np.ndarray, options: Picture) -> np.ndarray:
    """The float32 picture (3, mels, frames) as a first script makes it."""
    import librosa
    from PIL import Image

    rate, seconds, frames = resolved(options)
    if options.length == "pad":
        samples = to_length(samples, round(seconds * rate))
    channels = []
    for window_s, hop_s in WINDOWS_S if options.windows == "three" else WINDOWS_S[:1] * len(WINDOWS_S):
        window, hop = window_and_hop(rate, window_s, hop_s)
        mel = librosa.feature.melspectrogram(
            y=samples,
            sr=rate,
            n_fft=fft_length(rate),
            win_length=window,
            hop_length=hop,
            pad_mode="reflect",
            n_mels=options.mels,
            htk=True,
            norm=None,
        )
        image = Image.fromarray(np.log(mel + np.float32(FLOOR)))
        channels.append(np.asarray(image.resize((frames, options.mels), Image.Resampling.BILINEAR)))
    return np.stack(channels)


def obvious_copy(samples: np.ndarray, rate: int, variation: Variation) -> np.ndarray:
    """Samples stretched and shifted as a first script does it."""
    from librosa import effects

    stretched = effects.time_stretch(samples, rate=variation.stretch)
    return effects.pitch_shift(stretched, sr=rate, n_steps=variation.semitones)


def _take_turns(paths: list[Path], options: Picture) -> tuple[_Stopwatch, float]:
    """Seconds of each way, summed over clips, and the largest difference between their pictures."""
    watch, difference, rng, rate = _Stopwatch(), 0.0, np.random.default_rng(0), resolved(options)[0]
    samples, _ = read(paths[0], rate)
    for way in (picture, obvious_pictures):  # once unmeasured: what is worked out once, and libraries that load when used
        way(samples, options)
    obvious_copy(samples, rate, Variation(1, 1.1))
    for i, path in enumerate(paths):
        samples, _ = watch.time("decode", read, path, rate)
        theirs = watch.time("obvious", obvious_pictures, samples, options)
        difference = max(difference, float(np.abs(watch.time("ours", picture, samples, options) - theirs).max()))
        if i < AUGMENTED_CLIPS:
            variation = draw(rng)
            watch.time("obvious copy", obvious_copy, samples, rate, variation)
            watch.time("our copy", vary, samples, rate, variation)
    return watch, difference
