"""The training loop: a stepped rate, bf16 where it pays, a checkpoint after every epoch.

A run that is killed loses at most the epoch in flight. All randomness of an epoch comes from the run's seed and the epoch's
number, so the continued run takes the very steps that the uninterrupted one would have taken.
"""

import json
import math
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from tla.console import Progress, say
from tla.errors import UserError
from tla.files import replacing
from tla.nets import transfer, weights
from tla.nets.arithmetic import computing, full_precision
from tla.nets.stages import HEAD, StagedNet, describe
from tla.nets.weights import Pretrained
from tla.options import Arithmetic, Stage
from tla.runs import events, prefix
from tla.runs.begin import begin
from tla.runs.feed import EVALUATION_BATCH, Feed, augmented
from tla.runs.folder import Predictions, Result, RunFolder, Score
from tla.runs.run import Run
from tla.runs.schedule import judge, next_rate
from tla.runs.scores import accuracy, macro_accuracy
from tla.sound.store import Store

SAMPLE = 128  # training clips at most that are scored after each epoch


@dataclass
class State:
    """A run after some epochs: all that the next epoch and the end of the run need."""

    net: StagedNet
    optimizer: torch.optim.Optimizer
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)  # of the best epoch: its logits (paper) or its network (nested)

    @property
    def best(self) -> int:
        """The epoch with the highest accuracy on the clips that choose; the first of equals."""
        return int(np.argmax([row["accuracy"] for row in self.history]))


def fit(
    run: Run,
    store: Store,
    pretrained: Pretrained | None,
    folder: RunFolder,
    device: torch.device,
    watch: Progress,
    *,
    tensorboard: bool = False,
) -> None:
    """Train a run to its end, from its last checkpoint if there is one, and write its folder."""
    split = run.split(store.dataset)
    choosing = split.validation if run.protocol == "nested" else split.test
    feed = Feed(store, run, split.train, device)
    net = begin(run, pretrained, feed.standard).to(device).to(memory_format=torch.channels_last)
    after = transfer.frozen_prefix(net)
    if after != "none" and run.augment.kind != "live":
        feed = prefix.behind(feed, net, after)
    state = State(net, make_optimizer(run, net))
    _restore(state, folder)
    folder.write_log(state.history)  # the last attempt's may hold more, or less, or be damaged
    watch.advance(len(state.history) * feed.batches)
    with ExitStack() as stack:
        stack.enter_context(full_precision())  # of what is float32: its backward passes too
        board = stack.enter_context(events.writing(folder.path / events.FOLDER)) if tensorboard else None
        for row in state.history if board else []:
            events.note(board, row)
        while (rate := next_rate(run.recipe, state.history, run.classes)) is not None:
            row = run_epoch(state, feed, run, choosing, rate, watch)
            save_checkpoint(state, folder)
            folder.write_log(state.history)
            epoch = f"{row['epoch']}{f'/{run.recipe.epochs}' if run.recipe.epochs else ''}"
            watch.note(f"epoch {epoch}  loss {row['loss']:.3f}  held out {100 * row['accuracy']:.1f} %")
            if board:
                events.note(board, row)
    _conclude(state, feed, run, folder, split.test)


def run_epoch(state: State, feed: Feed, run: Run, choosing: np.ndarray, rate: float, watch: Progress) -> dict[str, Any]:
    """Train one epoch at this share of the recipe's rates, score the clips that choose, and note both in the state."""
    started, epoch = time.perf_counter(), len(state.history)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["initial_lr"]
    loss, train_accuracy = train_epoch(
        state, feed.epoch(epoch), run, epoch, watch, after=feed.after, class_weights=feed.class_weights
    )
    trained = time.perf_counter()
    sample = feed.sample(SAMPLE)
    training_loss = _loss(predict(state.net, feed, sample, run.precision), feed, sample)
    logits = predict(state.net, feed, choosing, run.precision)
    labels, heldout_loss = feed.store.dataset.labels[choosing], _loss(logits, feed, choosing)
    if not (math.isfinite(loss) and math.isfinite(heldout_loss)):
        losses = f"in epoch {epoch + 1} the loss is {loss:.3g} in training, {heldout_loss:.3g} on held-out clips"
        raise _diverged(losses, feed, run, np.concatenate([feed.train, choosing]))
    row = {
        "epoch": epoch + 1,
        "lr": rate * run.recipe.lr,
        "steps": feed.batches,
        "loss": loss,  # as met, batch by batch
        "train_accuracy": train_accuracy,
        "training_loss": training_loss,  # after the epoch, in inference mode, of a sample of the training clips
        "heldout_loss": heldout_loss,
        "accuracy": accuracy(logits, labels),
        "train_seconds": round(trained - started, 3),
        "seconds": round(time.perf_counter() - started, 3),
    }
    state.history.append(row)
    if state.best == epoch:
        state.kept = {"logits": torch.from_numpy(logits)} if run.protocol == "paper" else _copy_of(state.net)
    return row


def _loss(logits: np.ndarray, feed: Feed, rows: np.ndarray) -> float:
    """The mean loss of these clips; under weights, of the classes among them, so that it can be compared with other clips'."""
    labels = torch.from_numpy(feed.store.dataset.labels[rows])
    return float(_criterion(torch.from_numpy(logits), labels, feed.weights_of(rows)))


def _criterion(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """The mean over clips of each clip's loss times the weight of its class."""
    if class_weights is None:
        return functional.cross_entropy(logits, labels)
    return functional.cross_entropy(logits, labels, class_weights, reduction="sum") / len(labels)


def train_epoch(
    state: State,
    batches: Iterable[tuple[Tensor, Tensor]],
    run: Run,
    epoch: int,
    watch: Progress,
    after: Stage = "none",
    class_weights: Tensor | None = None,
) -> tuple[float, float]:
    """One pass over batches (pictures, or outputs of stage `after`, and labels); mean loss and accuracy over them, as met.

    There is no host sync before its end.
    """
    device = next(state.net.parameters()).device
    loss_sum, right, seen = torch.zeros((), device=device), torch.zeros((), device=device), 0
    state.net.train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws from the global generator
        torch.manual_seed(run.seed * 1_000_003 + epoch)
        for pictures, labels in batches:
            with computing(device, run.precision):
                logits = state.net(pictures, after=after).float()
            loss = _criterion(logits, labels, class_weights)
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            state.optimizer.step()
            loss_sum += loss.detach() * len(labels)
            right += (logits.detach().argmax(dim=1) == labels).sum()
            seen += len(labels)
            watch.advance()
    return float(loss_sum) / seen, float(right) / seen


def _diverged(seen: str, feed: Feed, run: Run, rows: np.ndarray) -> UserError:
    """The error where numbers are no numbers any more: the clip whose picture began it, or the options that may have."""
    clip = feed.broken(rows)
    if clip is not None:
        return UserError(
            f"run {run.key} cannot be trained: what its network is fed of {clip} holds NaN or infinity; listen to that clip, "
            f"mend it or leave it out, and delete {feed.store.folder} to have the pictures made again"
        )
    recipe = run.recipe
    suspects = [f"--recipe.lr {recipe.lr:g}"]
    suspects += [f"--recipe.weight-decay {recipe.weight_decay:g}"] * (recipe.weight_decay > 1)
    suspects += [f"--recipe.drop-factor {recipe.drop_factor:g}"] * (recipe.drop_factor > 1)
    return UserError(f"run {run.key} diverged: {seen}; {' or '.join(suspects)} is likely too high")


def predict(net: StagedNet, feed: Feed, rows: np.ndarray, precision: Arithmetic) -> np.ndarray:
    """Logits (clips, classes), float32, of clean clips in inference mode."""
    net.eval()
    outputs = []
    with torch.inference_mode(), computing(feed.device, precision):
        for start in range(0, len(rows), EVALUATION_BATCH):
            outputs.append(net(feed.pictures(rows[start : start + EVALUATION_BATCH]), after=feed.after).float())
    return torch.cat(outputs).cpu().numpy()


def make_optimizer(run: Run, net: StagedNet) -> torch.optim.Optimizer:
    """The recipe's optimizer over what the transfer plan lets move; fused, so a step is one kernel per few tensors."""
    recipe, head = run.recipe, {id(parameter) for parameter in net.stage_parameters(HEAD)}
    groups = [
        {"params": [p for p in transfer.trainable(net) if (id(p) in head) == is_head], "lr": rate, "initial_lr": rate}
        for is_head, rate in ((False, recipe.lr), (True, recipe.head_lr or recipe.lr))
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=recipe.weight_decay, fused=True)


def _copy_of(net: StagedNet) -> dict[str, Tensor]:
    return {f"net.{name}": tensor.detach().clone() for name, tensor in net.net.state_dict().items()}


def save_checkpoint(state: State, folder: RunFolder) -> None:
    """Write all that the next epoch needs."""
    tensors = {f"net.{name}": tensor for name, tensor in state.net.net.state_dict().items()}
    tensors |= {f"kept.{name}": tensor for name, tensor in state.kept.items()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if value is not None}
    packed = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder.checkpoint) as temporary:
        temporary.write_bytes(save(packed, {"history": json.dumps(state.history)}))


def _restore(state: State, folder: RunFolder) -> None:
    """Bring a fresh state to where the checkpoint stands, if there is one."""
    if not folder.checkpoint.is_file():
        return
    try:
        with safe_open(folder.checkpoint, framework="pt") as file:
            history = json.loads(file.metadata()["history"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        say(f"{folder.checkpoint} is damaged ({error}); run {folder.key} starts over")
        return
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "kept": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    state.net.net.load_state_dict(parts["net"])
    saved = state.optimizer.state_dict()
    for name, tensor in parts["optimizer"].items():
        index, slot = name.split(".")
        saved["state"].setdefault(int(index), {})[slot] = tensor
    state.optimizer.load_state_dict(saved)
    for parameter, slots in state.optimizer.state.items():  # the memory layout of the parameter, as when it was made
        for slot, value in slots.items():
            if value.shape == parameter.shape:
                slots[slot] = torch.empty_like(parameter).copy_(value)
    state.history, state.kept = history, parts["kept"]


def _conclude(state: State, feed: Feed, run: Run, folder: RunFolder, test: np.ndarray) -> None:
    """Score the test clips by the protocol's rules and write what remains of the finished run."""
    clips = [feed.store.dataset.clips[row] for row in test]
    labels = feed.store.dataset.labels[test]
    if run.protocol == "nested":
        state.net.net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in state.kept.items()})
        logits = {"test": predict(state.net, feed, test, run.precision)}
    else:
        logits = {"best": state.kept["logits"].cpu().numpy(), "last": predict(state.net, feed, test, run.precision)}
    if not all(np.isfinite(values).all() for values in logits.values()):  # of clips that no loss was taken of
        raise _diverged("of some test clips the outputs are no numbers", feed, run, test)
    names, sources = np.array([clip.name for clip in clips]), np.array([clip.source for clip in clips])
    folder.write_predictions(Predictions(names, labels, sources, logits))
    if feed.standard is not None:
        folder.write_standard(*feed.standard)
    about = {"key": run.key, "backbone": run.backbone, "classes": json.dumps(feed.store.dataset.classes)}
    weights.save(state.net.net.state_dict(), folder.weights, about)
    rows = describe(state.net, run.shape)
    scores = {rule: Score(accuracy(values, labels), macro_accuracy(values, labels)) for rule, values in logits.items()}
    trainable, parameters = transfer.counts(state.net)
    trained = sum(row["train_seconds"] for row in state.history)
    items = run.epoch_clips(feed.store.dataset) * (1 + augmented(run)) * len(state.history)
    folder.finish(
        Result(
            scores=scores,
            best_epoch=state.best + 1,
            epochs=len(state.history),
            training=judge(state.history, run.classes),
            clips=len(test),
            parameters=parameters,
            trainable=trainable,
            multiply_adds=sum(row.multiply_adds for row in rows),
            padded_to=state.net.takes[1:] if state.net.takes not in (None, run.shape) else None,
            seconds_per_epoch=float(np.median([row["seconds"] for row in state.history])),
            training_clips_per_second=items / trained,
            finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )
    )
