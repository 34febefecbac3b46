"""The paper's numbers, in percent, to stand beside ours. Palanisamy, Singhania, Yao (2020), Tables I and II."""

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

# An independent replication (public, 2025) of Fig. 2b, 2c and section IV-B: DenseNet-201, ESC-50, fold 1, last epoch. The paper
# prints no numbers for its curves. Its fusion kept pretrained batch norm everywhere; its frozen statistics still moved.
REPLICATION = {
    "fusion": {"none": 74.75, "stem": 78.25, "block1": 85.25, "block2": 88.0, "block3": 90.0},
    "freeze": {"stem": 89.25, "block1": 90.5, "block2": 89.75, "block3": 86.5, "block4": 64.25},
    "cutoff": {"block2": 82.0, "block3": 91.0},
}
# What the paper's text says of ESC-50 and DenseNet-201: "about 90 % once Block3 is pretrained", "freezing two blocks costs
# 2 to 3 points, freezing Block3 nearly 10", "without Block4 90 %, without Block3 and Block4 about 85 %".
TEXT = {
    "fusion": {"block3": 90.0, "block4": 91.16},
    "freeze": {"none": 91.16, "block2": 88.7, "block3": 81.2},
    "cutoff": {"block4": 91.16, "block3": 90.0, "block2": 85.0},
}
