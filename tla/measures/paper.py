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
