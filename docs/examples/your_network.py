# %% [markdown]
# # Your own network: what did fine-tuning change?
#
# You have a network of your own, and the same one after you trained it on sounds. Which of its layers still compute what
# they did before? This page asks it of a plain ResNet-18 of torchvision; nothing in it knows of tla. It takes a few
# minutes on a laptop's processor.
#
#     python docs/examples/your_network.py
#
# Where torchvision can download weights, begin with those of ImageNet, which is the question of the paper:
#
#     TLA_WEIGHTS=IMAGENET1K_V1 python docs/examples/your_network.py
#
# Otherwise the network begins with random weights, and the page shows what *training* changed, not what it did to
# something learned from photographs.

# %%
import copy
import os

import matplotlib.pyplot as plt
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from tla.similarity import compare, compare_figure, svcca
from tla.sound import Picture, pictures

WEIGHTS = os.environ.get("TLA_WEIGHTS")

# %% [markdown]
# ## Sounds, as pictures
#
# Any clips will do that your network takes. Here they are synthetic: 400 clips in ten classes, each with three
# spectrograms. One fold of five is held out: what a network makes of the clips that it was trained on is another
# question. For sounds of your own, put their folder in the place of "toy".

# %%
sounds = pictures("toy", Picture(mels=96, frames=96), workers=1)
learned, held_out = sounds.split(1)
mean, std = (float(number) for number in (learned.pictures.mean(dtype="float64"), learned.pictures.std(dtype="float64")))
train, test = (
    TensorDataset(torch.from_numpy((part.pictures.astype("float32") - mean) / std), torch.from_numpy(part.labels))
    for part in (learned, held_out)
)
print(f"{len(train)} clips to train on, {len(test)} held out, each {tuple(test.tensors[0].shape[1:])}")

# %% [markdown]
# ## Before and after
#
# Three epochs are no training to the end; they are enough to see something. `before` is a copy that stays as it is.

# %%
torch.manual_seed(0)
net = resnet18(weights=WEIGHTS)
net.fc = torch.nn.Linear(net.fc.in_features, len(sounds.classes))
before = copy.deepcopy(net)

optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(3):
    net.train()
    losses = []
    for x, y in DataLoader(train, batch_size=32, shuffle=True):
        loss = functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.2f}")

net.eval()
with torch.no_grad():
    right = torch.cat([net(x).argmax(1) == y for x, y in DataLoader(test, batch_size=32)])
print(f"{100 * right.float().mean():.0f} % of the held-out clips are right")

# %% [markdown]
# ## How much did each layer change?
#
# `layer?` is layer1 to layer4. Scores are SVCCA: 1 where a layer computes the same as before, up to a rotation and
# scaling of its channels.

# %%
layers = "conv1,layer?"
table = compare(before, net, DataLoader(test, batch_size=8), layers, groups=held_out.sources)
shown = ["layer", "score", "low", "high", "floor", "points", "kept_a", "kept_b", "left_out"]
print(table[shown].round(2).to_string(index=False))

# %% [markdown]
# Read a row from its end.
#
# - `left_out` says where there is no score, and why. A layer with few positions leaves few points; with more directions
#   than points can tell apart, some correlations are 1 whatever the networks do.
# - `points` and `kept` say what the score stands on: positions of all clips, and the directions that hold 99 % of the
#   variance. The score is a mean over the fewer of them: 1.00 with 18 and 7 directions says that the 7 lie within the 18,
#   not that nothing was lost.
# - `floor` is the score of the same two layers when each clip is paired with *another* one. What two clips have in
#   common at a position (the edges of the picture, which are padded with zeros, are the same in all of them) is no
#   similarity of networks, and neither is what chance gives to few points. Only what lies above the floor is.
# - `low` to `high` is where the score would lie for other recordings, 19 times of 20. It says nothing of another
#   training: for that, train twice.

# %% [markdown]
# ## A control: a network that has nothing to do with it
#
# The floor is about clips. Two networks of one architecture may also be alike because they see the same clip: a layer
# of random filters passes on a good deal of its picture. So compare with a network of other random weights, which costs
# no training. A layer that is no more alike before and after than `before` and the stranger has kept nothing that SVCCA
# could show.

# %%
torch.manual_seed(1)
stranger = resnet18()
control = compare(before, stranger, DataLoader(test, batch_size=8), layers, groups=held_out.sources)

page, (left, right) = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
compare_figure(table, left)
compare_figure(control, right)
left.set_title("before and after training")
right.set_title("before and a stranger")
page.savefig("what_training_changed.png", dpi=150)

# %% [markdown]
# From random weights, both panels look much the same from layer2 on (one training, one seed): the scores lie well above
# their floors, and yet a stranger has them too. SVCCA does not care which channel is which; these two networks share
# their channels, so a measure that does care may tell more: `measures=["svcca", "channel"]`.

# %% [markdown]
# ## The same, from arrays
#
# If you have activations already, from another library for instance, they are all that is needed.

# %%
found: dict[str, torch.Tensor] = {}
for name, each in (("before", before), ("after", net)):
    each.layer2.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output}))
    with torch.no_grad():
        each.eval()(test.tensors[0])
alike = svcca(found["before"], found["after"])  # (clips, channels, height, width)
print(f"layer2: {alike.score:.2f}, floor {alike.floor:.2f}, {alike.points} points at {alike.positions} positions of each clip")

# %% [markdown]
# ## What this cannot say
#
# - *Whether a change matters.* A layer may turn around and serve as well, or change a little and serve better. What a
#   layer is good for is asked by replacing, freezing and cutting it (`tla.fusion`, `tla.freeze`, `tla.cutoff`).
# - *What changed first, or why.* One training, from one seed, is one sample.
# - *Anything about sound*, here: the sounds are synthetic.
# - *That a high score in a late layer means that it was kept.* Look at its floor first.
