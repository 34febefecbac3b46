# %% [markdown]
# # Your own sounds: what may be frozen?
#
# A network pretrained on photographs is fine-tuned on sounds. Which of its stages have to move, and which may stay as
# they are? A frozen stage needs no gradient, and what it makes of a clip is computed once, so freezing is worth knowing
# about.
#
# This page asks it of ESC-10 (400 clips, ten classes, five folds). Give the path of your own sounds in its place: a
# folder with a sub-folder per class, or a CSV with the columns path, label and, if you have them, fold and source (the
# recording that a clip was cut from).
#
#     TLA_SOUNDS=PATH/ESC-10 python docs/examples/your_sounds.py

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import tla
from tla import Augment, Picture, Place, Recipe, Study, differences, stages

SOUNDS = Path(os.environ.get("TLA_SOUNDS", "ESC-10"))

# %% [markdown]
# ## The study
#
# A `Study` is what decides the outcome, a `Place` where things lie and run. EfficientNet-Lite0 is small, and its
# ImageNet weights come with a package, so nothing is downloaded. Each run is trained until its loss no longer falls, by
# one rule for all points: so the points differ in what is frozen, and not in how well they are trained.
#
# Where there is no folder of sounds, synthetic ones are made, with small pictures, so that the page runs anywhere in
# minutes. It then shows how to ask, and says nothing about sound.

# %%
place = Place(runs="runs", figures="figures")
recipe = Recipe(lr=1e-3, standardise=True, until="plateau")
about = {"backbone": "efficientnet_lite0", "folds": (1,), "augment": Augment(kind="none")}
if SOUNDS.exists():
    study = Study(data=str(SOUNDS), recipe=recipe, **about)
else:
    print(f"There is no {SOUNDS}: synthetic sounds take its place. $TLA_SOUNDS names a folder of real ones.")
    recipe = Recipe(lr=1e-3, standardise=True, until="plateau", batch=16)
    study = Study(data="toy", picture=Picture(mels=64, frames=64), recipe=recipe, **about)

# %% [markdown]
# ## The plan
#
# Nothing is trained by making a plan. It knows which runs are there already, and times a few batches of each kind of
# the others.

# %%
plan = stages.plan(study, place, "freeze", points=("none", "block3", "block4"))
print(plan)
print(plan.forecast())

# %% [markdown]
# ## The runs
#
# This is the one step that takes time. Stopped and started again, it goes on after the last whole epoch; once it is
# finished, the same cell reads the runs. What it gives is the finished runs by curve and point.

# %%
curves = tla.train_missing(plan, place)
{point: [run.key for run in runs] for point, runs in curves.runs["pretrained"].items()}

# %% [markdown]
# ## Accuracy at each point
#
# `measure` turns runs into tables (tidy DataFrames), and `figure` draws them, on axes of yours if you give some.

# %%
tables = stages.measure(curves)
print(tables.points[["curve", "point", "runs", "accuracy", "low", "high", "covers"]].round(1).to_string(index=False))

page, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
stages.figure(tables, axes=left)
stages.epochs_figure(tables, axes=right)
page.savefig("what_may_be_frozen.png", dpi=150)

# %% [markdown]
# The steps from one point to the next are paired: the same clips, before and after one more stage is frozen.

# %%
print(
    tables.steps[["before", "after", "accuracy", "low", "high", "covers", "p_holm", "important"]]
    .round(3)
    .to_string(index=False)
)

# %% [markdown]
# ## Which classes pay for it?
#
# Any two lists of runs on the same clips can be set side by side: here nothing frozen, and all stages frozen.

# %%
points = curves.runs["pretrained"]
made = differences.measure(points["none"], points["block4"], names=("nothing frozen", "all stages frozen"))
print(made.classes[["class", "clips", "difference", "low", "high", "p_holm", "differs"]].round(3).to_string(index=False))
differences.figure(made).savefig("which_classes.png", dpi=150, bbox_inches="tight")

# %% [markdown]
# ## What this says, and what it does not
#
# With one seed, an interval is for other clips on these very runs: it does not say what another training would give, so
# no step counts as `important` and no class as one that `differs`. `Study(seeds=3)` and all folds (`folds="all"`) do;
# the plan tells what that costs, and the runs of this page are part of it. A frozen stage that costs nothing here was
# not needed to move for these clips; that it is useless to others does not follow.
#
# The tables are files if you want them to be, and the figure is made of them alone:

# %%
tables.write(Path("figures"), "fig2c_freeze")
again = stages.read(Path("figures"), "fig2c_freeze")
stages.figure(again).savefig("figures/fig2c_freeze.pdf", bbox_inches="tight")
