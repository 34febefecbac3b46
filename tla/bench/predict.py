"""Prediction of many files beside the obvious way: one file after the other, a pass of the network for each.

The limit is the bare network on batches of pictures that lie ready, and the making of these pictures. The ways take turns batch
by batch on one thread.
"""

import torch

from tla.bench.pictures import obvious_pictures
from tla.bench.rows import Row, clock, wait
from tla.launch.material import Material
from tla.launch.study import list_runs
from tla.nets import transfer
from tla.nets.arithmetic import computing
from tla.runs.device import cpu_threads
from tla.runs.infer import Listener, batch_size, predict
from tla.sound.audio import read
from tla.sound.spectrograms import resolved
from tla.sound.windowed import pictures_of


def bench_predict(material: Material, *, batches: int) -> list[Row]:
    """Seconds per clip of a prediction, from files to probabilities."""
    run, device, size = list_runs(material)[0], material.device, batch_size(material.device)
    net = transfer.assemble(run.backbone, run.classes, run.transfer, material.pretrained, seed=run.seed)
    net = net.to(device).to(memory_format=torch.channels_last).eval()
    listener = Listener(run, list(material.dataset.classes), net, device, None)
    files = [clip.path for clip in material.dataset.clips][: size * (batches + 1)]
    seconds = dict.fromkeys(("pictures", "network", "ours", "obvious"), 0.0)

    def obvious() -> None:
        for file in mine:
            picture = obvious_pictures(read(file, resolved(run.picture)[0])[0], run.picture)
            net(torch.from_numpy(picture[None]).float().to(device))
        wait(device)

    with torch.inference_mode(), cpu_threads(1):
        for start in range(0, len(files), size):
            mine, made = files[start : start + size], []
            spent = {"pictures": clock(lambda: made.extend(pictures_of(mine, [run.picture], 0)))}
            batch = torch.cat([listener.batch(each[run.picture]) for each in made if isinstance(each, dict)])
            with computing(device, run.precision):
                spent["network"] = clock(lambda: (net(batch), wait(device)))
            spent["ours"] = clock(lambda: list(predict(mine, [listener])))
            spent["obvious"] = clock(obvious)
            if start:  # the first batch warms up
                seconds = {name: total + spent[name] / (len(files) - size) for name, total in seconds.items()}
    limit, note = seconds["pictures"] + seconds["network"], f"pictures {1000 * seconds['pictures']:.3g} ms of it"
    return [
        Row("prediction", "a file after the other, librosa, float32", seconds["obvious"], "obvious"),
        Row("prediction", "ours", seconds["ours"], "ours", f"batches of {size}, one thread"),
        Row("prediction", "bare network and pictures", limit, "limit", note),
    ]
