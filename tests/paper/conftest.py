"""A page with everything on it, made of synthetic sounds and names that would like to be markup."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tla import plots
from tla.attribution import page_clips
from tla.attribution.page_clips import Clip, Room
from tla.options import Picture
from tla.paper import page as draw
from tla.sound import audio, render
from tla.sound.spectrograms import picture

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "{{ 7 * 7 }}",
)
OPTIONS = Picture(mels=32, frames=40, rate=22050, seconds=2.0)


def clip_of(path: Path, label: str, predicted: str, *, silent: bool = False) -> Clip:
    """A clip whose attribution is drawn at random where it is loud."""
    samples, _ = audio.read(path, OPTIONS.rate)
    made = picture(samples, OPTIONS)
    rng = np.random.default_rng(len(label))
    attribution = rng.normal(size=made.shape) * np.exp((made - made.max()) / 4)
    whole = np.round(samples.clip(-1, 1) * 32767).astype(np.int16)
    return Clip(
        name=f"{label}/{path.name}",
        label=label,
        predicted=predicted,
        probability=0.9,
        credit=f"by {label}",
        samples=None if silent else whole,
        span=(0, len(whole)),
        picture=page_clips.levelled(made),
        strength=page_clips.quantised(render.strength(attribution)),
        attribution=np.round(127 * (attribution.sum(axis=0) / 3).clip(-1, 1)).astype(np.int8),
        limit=3.0,
        error=0.012,
        answers=np.linspace([0.2, 0.9], [0.95, 0.1], len(page_clips.SHARES)),
    )


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Names that would like to be markup."""
    return HOSTILE


@pytest.fixture(scope="session")
def room(few_sounds: Path) -> Room:
    """Four clips: one heard right, one not, one with hostile names, one that may not be passed on."""
    first, second, third, fourth = sorted(few_sounds.rglob("*.wav"))[:40:10]
    clips = (
        clip_of(first, "bell", "bell"),
        clip_of(second, "drum", "bell"),
        clip_of(third, HOSTILE[0], HOSTILE[1]),
        clip_of(fourth, "secret", "secret", silent=True),
    )
    return Room(run="0123456789ab", data=HOSTILE[2], backbone="densenet_tiny", fold=1, picture=OPTIONS, clips=clips)


@pytest.fixture(scope="session")
def plate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An SVG with texts behind its markers, one of them hostile."""
    figure = Figure(figsize=(3.5, 2))
    axes = figure.subplots()
    (line,) = axes.plot([0, 1, 2], [1, 3, 2], "o-")
    plots.hover(line, ["first: 1 %", "second: 3 %", HOSTILE[0]])
    axes.set_title(HOSTILE[3])
    plots.caption(figure, f"Synthetic sounds, twelve runs. {HOSTILE[1]}")
    folder = tmp_path_factory.mktemp("plate")
    plots.save(figure, folder / "figure")
    return (folder / "figure.svg").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def whole(room: Room, plate: str) -> draw.Page:
    """A page with a bit of everything."""
    numbers = pd.DataFrame({"network": [HOSTILE[1], "b"], "accuracy": [90.123456, np.nan], "paper": ["91.2", ""]})
    measured = draw.Measured(
        what=HOSTILE[0],
        number="+3.0 points [+1.0, +5.0]",
        verdict="holds (needed: above 0)",
        basis="folds 1,2",
        value=3,
        low=1,
        high=5,
        region=(0, np.inf),
        paper=4,
    )
    verdicts = ("holds", "does not hold", "not enough evidence")
    claims = [
        draw.Claim(
            title=f"Claim {k} {HOSTILE[2]}", statement=HOSTILE[4], verdict=verdicts[k % 3], about="toy", measured=[measured]
        )
        for k in range(7)
    ]
    claims.append(draw.Claim(title="x", statement="y", verdict="holds", about="", missing=[("runs", f"python {HOSTILE[0]}")]))
    wide = pd.DataFrame({f"a long heading {k}": [f"{k}.0"] for k in range(12)})
    return draw.Page(
        title=HOSTILE[0],
        about=HOSTILE[1],
        found=HOSTILE[2],
        warning="The sounds are synthetic.",
        claims=claims,
        tables=[draw.Table(title="Table I", frame=numbers, about=HOSTILE[3]), draw.Table(title=HOSTILE[1], frame=wide)],
        plates=[
            draw.Plate(title="A figure", svg=plate, table=draw.Table(title="its numbers", frame=numbers)),
            draw.Plate(title=HOSTILE[1], svg=plate.replace("figure-", "other-")),
        ],
        made=[draw.Part(title="Options", text=HOSTILE[0], items=[("data", HOSTILE[2]), ("commit", "f" * 90)])],
        room=room,
    )
