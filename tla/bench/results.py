"""What is made of finished runs: an ensemble's tables and the page, beside the obvious ways to them.

The ensemble's tables come from the logits that each run left for each held-out clip; the obvious way runs the networks again.
The page holds each clip once, and draws and renders what the slider asks for in the browser; a page without a script needs
a picture and two sounds for every place of the slider.
"""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import soundfile

from tla.attribution import page_clips
from tla.bench.attribution import untrained
from tla.bench.rows import Row, clock
from tla.console import progress
from tla.ensembles import measuring as ensembles
from tla.ensembles.measuring import Members
from tla.launch.material import Material
from tla.paper.page import Page, html
from tla.sound import render
from tla.sound.audio import read
from tla.sound.spectrograms import resolved, span

MEMBERS = 5  # the paper's
CLIPS = 2  # on the page


def bench_ensemble(material: Material) -> list[Row]:
    """Seconds per held-out clip: from saved logits, and with the networks run again."""
    network, _ = untrained(material)
    run = network.run
    rows = material.dataset.split(run.fold, run.protocol).test
    sources = np.array([material.dataset.clips[row].source for row in rows])
    folds = np.full(len(rows), run.fold)
    logits: list[np.ndarray] = []
    with progress("measuring", MEMBERS + 1, "runs") as watch:

        def run_again() -> None:
            for _ in range(MEMBERS):
                logits.append(network.logits(material.store.clean[rows]))
                watch.advance()

        def tables() -> None:
            noise = np.random.default_rng(0).standard_normal((MEMBERS, *logits[0].shape))  # members that differ
            one = Members(tuple(range(MEMBERS)), np.stack(logits) + noise, material.dataset.labels[rows], sources, folds)
            for table in (ensembles.scores, ensembles.subsets, ensembles.pairs, ensembles.missed):
                table(one)

        passes, ours = clock(run_again), clock(tables)
        watch.advance()
    n = len(rows)
    return [
        Row("ensemble", "from saved logits", ours / n, "ours", f"{MEMBERS} members, all subsets, intervals; {n} clips"),
        Row("ensemble", "networks run again", (passes + ours) / n, "obvious", f"{run.backbone}, forward alone, then the same"),
    ]


def bench_page(material: Material) -> list[Row]:
    """Seconds per clip of writing the page's clips, and their size."""
    options, clips = material.store.picture, []
    for row in range(CLIPS):
        clip = material.dataset.clips[row]
        samples, _ = read(clip.path, options.rate)
        clips.append(_clip(clip.name, samples, np.asarray(material.store.clean[row], np.float32), span(len(samples), options)))
    room = page_clips.Room(run="-", data=material.dataset.name, backbone="-", fold=1, picture=options, clips=tuple(clips))
    sizes: dict[str, int] = {}

    def ours() -> None:
        sizes["ours"] = len(html(Page(title="", about="", found="", room=room)))

    def obvious() -> None:
        sizes["obvious"] = sum(_static(clip, room) for clip in clips)

    seconds, slow = clock(ours), clock(obvious)
    each = {way: f"{size / 1e6 / CLIPS:.1f} MB a clip" for way, size in sizes.items()}
    return [
        Row("page", "drawn and rendered in the browser", seconds / CLIPS, "ours", each["ours"]),
        Row("page", "a picture and two sounds for each place", slow / CLIPS, "obvious", each["obvious"]),
    ]


def _clip(name: str, samples: np.ndarray, picture: np.ndarray, shown: tuple[int, int]) -> page_clips.Clip:
    """A clip of the page whose loudest cells are what was attended to."""
    strength = np.exp(picture[0] - picture[0].max())
    return page_clips.Clip(
        name=name,
        label="",
        predicted="",
        probability=1.0,
        credit="",
        samples=np.round(samples.clip(-1, 1) * 32767).astype(np.int16),
        span=shown,
        picture=page_clips.levelled(picture),
        strength=page_clips.quantised(strength),
        attribution=np.round(127 * strength).astype(np.int8),
        limit=1.0,
        error=0.0,
        answers=np.zeros((len(page_clips.SHARES), 2)),
    )


def _static(clip: page_clips.Clip, room: page_clips.Room) -> int:
    """Bytes of a clip's pictures and sounds, as a page without a script holds them."""
    rate, samples = resolved(room.picture)[0], np.asarray(clip.samples) / 32767
    size = 0
    for mask in page_clips.masks(clip.strength):
        figure, axes = plt.subplots(figsize=(7.2, 2.5))
        axes.imshow(clip.picture[0], origin="lower", aspect="auto", cmap="magma")
        axes.contour(mask, levels=[0.5], colors="white")
        files = [io.BytesIO()]
        figure.savefig(files[0], format="png", dpi=150)
        plt.close(figure)
        for part in render.split(samples, mask, room.picture, clip.span):
            files.append(io.BytesIO())
            soundfile.write(files[-1], part, rate, format="WAV", subtype="PCM_16")
        size += sum(len(base64.b64encode(file.getvalue())) for file in files)
    return size
