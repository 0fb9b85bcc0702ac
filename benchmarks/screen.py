"""Which change learns more in the same number of steps? Short trainings of the denoiser alone, compared by the proxy on held-out digits.

    python benchmarks/screen.py STEPS RECIPE [FIELD=VALUE ...] [-- RECIPE [FIELD=VALUE ...] ...]

    python benchmarks/screen.py 800 mnist -- mnist-v -- mnist-v training.learning_rate=1e-3 network.position=rope+learned

All runs share the bundled autoencoder, hence one latent space, and leave out the last 5,000 training images, by which they are judged; the
learning rate is annealed over exactly these steps. Appends a line to benchmarks/screen.jsonl for each run: mean proxy of raw and
EMA weights (the first 128 held-out latents, 12 noise levels), seconds a step. Recipes with labels are told them, so their proxy cannot be
compared with the others'.
"""

import itertools
import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

from nanoldm.charts import mean
from nanoldm.data import load
from nanoldm.device import prepare_torch
from nanoldm.options import parse_fields
from nanoldm.overrides import override
from nanoldm.pipeline import LatentDiffusion
from nanoldm.stages import denoiser_stage, encode, proxy_errors

RESULT = Path(__file__).parent / "screen.jsonl"


def main() -> None:
    steps, *words = sys.argv[1:]
    prepare_torch("cpu")
    train, held_out = load("mnist", None, 5000)
    bundled = LatentDiffusion.from_pretrained("mnist")
    latents, test = (encode(bundled.autoencoder, data.images) for data in (train, held_out))
    for separator, run in itertools.groupby(words, lambda word: word == "--"):
        if separator:
            continue
        name, *fields = run
        stage = denoiser_stage(override(name, parse_fields(fields), steps=int(steps)), latents, labels=train.labels)
        began = time.perf_counter()
        losses = [step.loss for step in tqdm(stage.run(), total=int(steps), desc=" ".join([name, *fields]), unit="step", mininterval=10)]
        seconds = time.perf_counter() - began
        proxies = {kind: mean(proxy_errors(loss.denoiser.eval(), test, held_out.labels, bundled.clip_sample_range))
                   for kind, loss in (("raw", stage.loss_module), ("ema", stage.averaged))}
        line = {"recipe": name, "fields": fields, "steps": int(steps), "batch": stage.training.batch_size, **proxies,
                "loss": mean([loss.item() for loss in losses[-50:]]), "seconds_per_step": seconds / int(steps)}
        print(json.dumps(line), flush=True)
        with open(RESULT, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
