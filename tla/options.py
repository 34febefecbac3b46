"""The option groups that commands share.

Each group is a frozen, keyword-only dataclass; the docstring under a field is its help text. What decides
a run's outcome is in `Study` and the groups inside it; where things lie and run is in `Place`. A `None` means
"as the data set or the start asks", and is resolved before a run gets its key.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Stage = Literal["none", "stem", "block1", "block2", "block3", "block4"]
STAGES: tuple[Stage, ...] = get_args(Stage)[1:]  # from the input to the output; the head is always there and always new

RANDOM = "random"  # `weights` of a network that starts from none

Protocol = Literal["paper", "nested"]
Arithmetic = Literal["fp32", "bf16", "mixed"]

Rest = Literal["random", "meanvar"]  # what stages that are not pretrained start from
Parts = Literal["all", "conv", "norm"]  # what is taken in those that are
Positions = Literal["pretrained", "random"]  # what their positions start from
CutHead = Literal["mean", "token"]  # what the head of a cut network reads

State = Literal["converged", "still falling", "stuck"]  # of a run's training, at its end
CONVERGED: State = "converged"
LEAKS = "leaks"  # of a run and a table: what training and held-out clips share
UNTRAINED = "not trained to the end"  # what stands where a verdict would


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How a clip becomes a picture (clips, 3, mels, frames)."""

    windows: Literal["three", "one"] = "three"
    """Three log-mels of 25/10, 50/25 and 100/50 ms, one per channel, or the 25/10 ms one repeated."""
    mels: int = 128
    """Mel bands: the picture's height."""
    frames: int | None = None
    """The picture's width; by default as the data set asks (250, or 1500 for 30-second music)."""
    length: Literal["stretch", "pad"] = "stretch"
    """Clips of another length than the data set's: stretch the picture (as in the paper), or pad and crop the sound."""
    rate: int | None = None
    """Sampling rate in hertz to which clips are brought; by default as the data set asks."""
    seconds: float | None = None
    """The data set's nominal clip length, for padding, and for cutting long files; by default as the data set asks."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """The augmented copy that stands beside each clean clip in an epoch: pitch shift and time stretch."""

    kind: str = "bank:4"
    """bank:K draws from K variants per clip made once on disk; live makes new ones each epoch; none leaves the copy
    out."""
    length: Literal["resize", "keep"] = "resize"
    """A stretched clip: resize its picture back (as in the paper, which undoes the stretch), or keep the clip's length."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a data set, and their augmented copies."""

    on_bad_clip: Literal["stop", "skip"] = "stop"
    """A clip that cannot be used: stop and name it, or leave it out and list it."""
    picture: Picture = field(default_factory=Picture)
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The transfer plan: stage by stage, where the weights come from, whether they move, whether the stage is there."""

    pretrained_upto: Stage = "block4"
    """The last stage that starts from the pretrained weights; the later ones start at random."""
    frozen_upto: Stage = "none"
    """The last stage that keeps its weights and statistics through training."""
    kept_upto: Stage = "block4"
    """The last stage that exists; the network is cut behind it and gets a fresh norm and head."""
    frozen_norm: Literal["inference", "live"] = "inference"
    """Batch norm in frozen stages: its stored statistics, unmoved, or those of each batch (the stored ones then move). Other
    norms store none, so a network without batch norm has no live ones."""
    rest: Rest = "random"
    """Stages that are not pretrained: fresh, or normal with each pretrained tensor's own mean and variance."""
    parts: Parts = "all"
    """What is taken in the pretrained stages: everything, all but the norm layers, or these only."""
    positions: Positions = "pretrained"
    """What the positions of pretrained stages start from (embeddings, biases of attention by distance): the pretrained ones,
    interpolated where pictures are of another size than the pretrained network's, or, as a control, at random."""
    cut_head: CutHead = "mean"
    """What the head of a cut network reads: the mean over places, or the class token, where the network has one."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    until: Literal["epochs", "plateau"] | None = None
    """epochs: a fixed number of them. plateau: the rate falls when the training loss no longer does, and at the third rate
    the run ends; the same rule for every arm, so that arms differ in epochs and not in how finished they are. By default the
    paper's epochs on the paper's data sets under its protocol, or where epochs are given; plateau otherwise."""
    epochs: int | None = None
    """--recipe.until epochs: by default 70 from pretrained weights and 450 from random ones, as in the paper."""
    cap: int | None = None
    """--recipe.until plateau: steps (batches) after which a run ends in any case; by default 10000."""
    times: float = 1.0
    """Train so many times as long as these rules say: 2 is the control that tells whether a finding hangs on the budget."""
    lr: float = 1e-4
    """The learning rate at the start."""
    head_lr: float | None = None
    """The learning rate of the head, which is always new; by default that of the rest."""
    drops: tuple[int, ...] | None = None
    """--recipe.until epochs: epochs after which the rate falls. By default the paper's 30,60 (300,350 from scratch), or, with
    epochs given, after 3/7 and 6/7 of them, whatever the start."""
    drop_factor: float = 0.1
    """What the rate is multiplied by at each drop."""
    weight_decay: float = 1e-3
    """Added to the gradient (adam, sgd) or to the step (adamw)."""
    batch: int = 32
    """Clips in a batch."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """The optimizer; sgd uses Nesterov momentum 0.9."""
    standardise: bool = False
    """Bring each mel band of each channel to mean 0 and spread 1 over the training clips."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a clip's loss is multiplied by N / (classes x clips of its class), N the training clips, so that each class
    weighs the same however few clips it has."""
    short_epochs: bool = False
    """Under --per-class: an epoch is one pass over the clips that were drawn. Otherwise it passes over them again until it has
    as many pictures as an epoch over all training clips, and so as many steps, however few clips there are."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values to try of options of the recipe; every combination is trained."""

    until: tuple[Literal["epochs", "plateau"], ...] = ()
    """As in epochs,plateau."""
    epochs: tuple[int, ...] = ()
    """As in 8,16."""
    cap: tuple[int, ...] = ()
    """As in 2000,10000."""
    times: tuple[float, ...] = ()
    """As in 1,2."""
    lr: tuple[float, ...] = ()
    """As in 1e-3,1e-4,1e-5."""
    head_lr: tuple[float, ...] = ()
    """As in 1e-2,1e-3."""
    drops: tuple[tuple[int, ...], ...] = ()
    """As in [[8],[4,8]]."""
    drop_factor: tuple[float, ...] = ()
    """As in 0.1,0.5."""
    weight_decay: tuple[float, ...] = ()
    """As in 1e-2,1e-3,1e-4."""
    batch: tuple[int, ...] = ()
    """As in 16,32,64."""
    optimizer: tuple[Literal["adam", "adamw", "sgd"], ...] = ()
    """As in adam,sgd."""
    standardise: tuple[bool, ...] = ()
    """As in false,true."""
    class_weights: tuple[Literal["none", "balanced"], ...] = ()
    """As in none,balanced."""
    short_epochs: tuple[bool, ...] = ()
    """As in false,true."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How options of the recipe are chosen: every combination is trained and scored on a validation fold."""

    grid: Grid = field(default_factory=Grid)
    asha: bool = False
    """Stop combinations that fall behind: of those that reach a rung, the best third go on (ASHA; needs --launch ray)."""
    grace: int = 1
    """--asha: epochs that each combination gets at least; the first rung."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is studied. Everything here decides the outcome of the runs."""

    data: str = "esc50"
    """esc50, esc10, urbansound8k, gtzan, gtzan-filtered, toy, or the path of a folder or CSV."""
    backbone: str = "densenet201"
    """densenet201, resnet50, inception_v3, efficientnet_lite0, densenet_tiny, or timm:NAME."""
    weights: str = "imagenet"
    """Where the network starts: imagenet, random, a weights file, the key of a run, or hf_hub:OWNER/NAME or
    hf_hub:OWNER/NAME@REVISION, safetensors on the Hugging Face hub."""
    folds: tuple[int, ...] | Literal["all"] = "all"
    """Folds to hold out, one run each: a list such as 1,2, or all."""
    seeds: int = 1
    """Runs per fold, with seeds 0, 1, ...; a seed sets head, random stages, batch order and what --per-class draws. With one,
    intervals are for other clips on these runs, and nothing has a verdict; 3 are one to begin with (docs/statistics.md)."""
    per_class: int | None = None
    """Learn from so many clips of each class, drawn anew for each seed and fold; by default from all. The command `labels` asks
    how many it takes."""
    protocol: Protocol = "paper"
    """paper: hold one fold out, report its best and last epoch; nested: a validation fold chooses the epoch, the
    test fold is scored once."""
    precision: Literal["auto", "fp32", "bf16", "mixed"] = "auto"
    """Arithmetic of the network; mixed is bf16 with grouped convolutions in float32. auto takes bf16 where the processor has
    instructions for it, and mixed on CPUs where the network has grouped convolutions."""
    on_bad_clip: Literal["stop", "skip"] = "stop"
    """A clip that cannot be used: stop and name it, or leave it out and list it."""
    allow_leaks: bool = False
    """Go on where a recording, or the same sound, is in training and held-out clips, or has two labels; tables and captions
    then note it. Without it such a list is refused; the folds of public data sets are used as they are."""
    picture: Picture = field(default_factory=Picture)
    augment: Augment = field(default_factory=Augment)
    transfer: Transfer = field(default_factory=Transfer)
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where things lie and where they run. Nothing here changes a result by more than rounding."""

    data_root: str | None = None
    """Folder for data sets and the pictures made of them; by default $TLA_DATA, else ./data."""
    runs: str = "runs"
    """Folder for runs."""
    figures: str = "figures"
    """Folder for tables and figures; each study has a folder in it, named after its options."""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto takes the first CUDA device, else the CPU."""
    tensorboard: bool = False
    """Write TensorBoard event files beside the log of each run, also of those that are finished already; `tensorboard --logdir`
    and the folder of --runs shows them (needs the extra `tensorboard`)."""
    dry_run: bool = False
    """The plan and nothing else: how many runs are missing, how long they will take, how much disk. Only pictures are made."""
    overwrite: bool = False
    """Also replace figures, tables and pages that tla did not write."""
    redraw: bool = False
    """The figures and nothing else: drawn again, byte for byte as they were, from the tables that lie in --figures: of all
    studies, or of the one that --data or --config names."""
    style: str | None = None
    """A matplotlib style file (my.mplstyle) on top of the look of figures: other sizes, fonts, colours of lines."""
    launch: str = "local"
    """Where runs are trained: local, on this machine; ray, on a Ray of its own or the one in $RAY_ADDRESS; ray:ADDRESS,
    on that Ray cluster, or ray:auto, on the one that this machine belongs to (needs the extra `ray`; docs/clusters.md)."""
    workers: int = 1
    """--launch local: runs trained at the same time, each in a process of its own; several GPUs are dealt out in turn."""
    threads: int | None = None
    """CPU threads of a run: by default all, its share with several --workers, 1 on Ray. Equal numbers give equal bits."""
    gpus_per_run: float | None = None
    """--launch ray: GPUs that a run takes; 0.25 puts four runs on one. By default 0 where the cluster has none."""
    shared_runs: bool = False
    """--launch ray: every node sees the folder of --runs, so runs are written there, and outlive the node they are on."""

    @property
    def data(self) -> Path:
        """The data folder, resolved."""
        return Path(self.data_root or os.environ.get("TLA_DATA") or "data")
