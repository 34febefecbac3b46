"""The paper's numbers, in percent, and its claims, to stand beside ours. Palanisamy, Singhania, Yao (2020)."""

from dataclasses import dataclass

# (backbone, data set) -> accuracy from pretrained weights, from random ones
TABLE1: dict[tuple[str, str], tuple[float, float]] = {
    ("densenet201", "gtzan"): (91.39, 88.50),
    ("densenet201", "esc50"): (91.16, 72.50),
    ("densenet201", "urbansound8k"): (85.14, 76.32),
    ("resnet50", "gtzan"): (91.09, 87.90),
    ("resnet50", "esc50"): (90.65, 67.40),
    ("resnet50", "urbansound8k"): (84.76, 73.26),
    ("inception_v3", "gtzan"): (90.00, 86.30),
    ("inception_v3", "esc50"): (87.34, 64.50),
    ("inception_v3", "urbansound8k"): (84.37, 75.24),
}

# (backbone, data set) -> accuracy of a single network, its spread over five, the ensemble of the five; all pretrained
TABLE2: dict[tuple[str, str], tuple[float, float, float]] = {
    ("densenet201", "gtzan"): (91.39, 0.37, 90.50),
    ("densenet201", "esc50"): (91.16, 0.36, 92.89),
    ("densenet201", "urbansound8k"): (85.14, 0.17, 87.42),
    ("resnet50", "gtzan"): (91.09, 0.86, 91.99),
    ("resnet50", "esc50"): (90.65, 0.28, 92.64),
    ("resnet50", "urbansound8k"): (84.76, 0.33, 87.35),
    ("inception_v3", "gtzan"): (90.00, 0.70, 90.50),
    ("inception_v3", "esc50"): (87.34, 0.74, 89.70),
    ("inception_v3", "urbansound8k"): (84.37, 0.50, 86.34),
}

# What Table III adds to these: model -> data set -> accuracy
TABLE3: dict[str, dict[str, float]] = {
    "Choi et al., transfer from the Million Song Dataset": {"gtzan": 89.80, "urbansound8k": 69.10},
    "multi-stream network": {"esc50": 84.90},
    "attention-based CRNN": {"esc50": 86.10},
    "ES-ResNet": {"esc50": 91.50, "urbansound8k": 85.42},
    "GTZAN's ceiling (Sturm)": {"gtzan": 94.50},
}

# An independent replication (public, 2025) of Fig. 2b, 2c and section IV-B: DenseNet-201, ESC-50, fold 1, last epoch. The paper
# prints no numbers for its curves. Its fusion kept pretrained batch norm everywhere; its frozen statistics still moved.
REPLICATION = {
    "fusion": {"none": 74.75, "stem": 78.25, "block1": 85.25, "block2": 88.0, "block3": 90.0},
    "freeze": {"stem": 89.25, "block1": 90.5, "block2": 89.75, "block3": 86.5, "block4": 64.25},
    "cutoff": {"block2": 82.0, "block3": 91.0},
}
# What the paper's text states for ESC-50 and DenseNet-201: "about 90 % once Block3 is pretrained", "freezing two blocks costs
# 2 to 3 points, freezing Block3 nearly 10", "without Block4 90 %, without Block3 and Block4 about 85 %".
TEXT = {
    "fusion": {"block3": 90.0, "block4": 91.16},
    "freeze": {"none": 91.16, "block2": 88.7, "block3": 81.2},
    "cutoff": {"block4": 91.16, "block3": 90.0, "block2": 85.0},
}


@dataclass(frozen=True)
class Claim:
    """One of the paper's seven claims: its statement, where it stands, and on which data sets and backbones."""

    number: int
    title: str
    statement: str
    where: str
    data: tuple[str, ...] = ("esc50",)
    backbones: tuple[str, ...] = ("densenet201",)


DATA, BACKBONES = ("esc50", "urbansound8k", "gtzan"), ("densenet201", "resnet50", "inception_v3")
CLAIMS = (
    Claim(
        1,
        "Pretraining helps",
        "Pretrained weights gain 20 points on ESC-50, 10 on UrbanSound8K and over 3 on GTZAN.",
        "Table I, section IV-B",
        DATA,
        BACKBONES,
    ),
    Claim(
        2,
        "Block3 brings it, Block4 nothing",
        "Accuracy jumps up to 90 % when Block3 is initialised from pretrained weights; beyond Block3 they contribute nothing.",
        "Fig. 2b, section IV-B",
    ),
    Claim(
        3,
        "Block3 has to move",
        "Freezing the first two blocks costs only 2 to 3 points, freezing Block3 too nearly 10.",
        "Fig. 2c, section IV-B",
    ),
    Claim(
        4,
        "Block4 can be cut off, Block3 cannot",
        "Without Block4 accuracy stays at 90 %; without Block3 and Block4 it drops to about 85 %.",
        "section IV-B",
    ),
    Claim(
        5,
        "Early layers change least",
        "Fine-tuning leaves a high correlation in the first layers of a pretrained network; from a random start it is low.",
        "Fig. 2a, section IV-B",
    ),
    Claim(
        6,
        "It looks at energy and its borders",
        "Attributions lie on the regions of high energy in the spectrogram and on the boundaries around them.",
        "Fig. 3, section IV-B",
    ),
    Claim(
        7,
        "Five runs beat one",
        "The average of five runs gains about 2 points on ESC-50 and UrbanSound8K and loses a little on GTZAN (200 clips).",
        "Table II, section IV-C",
        DATA,
        BACKBONES,
    ),
)
