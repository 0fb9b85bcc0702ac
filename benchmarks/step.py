"""Is this version faster than an earlier one, and is its training the same?

    python benchmarks/step.py [REVISION] [STEPS]

REVISION (d80a344, the code before it was made fast) is checked out into a temporary folder. Both
train and sample in processes of their own, in turns. The losses of STEPS (200) training steps are
compared: real latents, batch 256, from the bundled weights. (From random weights two runs differ
after 60 steps whatever the code: one thread instead of two is enough, see RESULTS.md.)
Then come ROUNDS of sampling. Compared: the earlier version, this one, and this one with --compile.
Run it on an idle machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROUNDS, IMAGES, REVERSE_STEPS = 5, 64, 20
ROOT = Path(__file__).parents[1]


def new_stage(model, images, compiled: bool):
    """The denoiser training of `mnist` on the latents of `images`."""
    import torch

    from nanoldm.experiments.recipes import RECIPES
    from nanoldm.experiments.stages import denoiser_stage, give_latents
    from nanoldm.utils.images import to_float

    recipe = RECIPES["mnist"]()
    stage = denoiser_stage(recipe, model.autoencoder, 0)
    if compiled:
        stage.use_compiler(True)
    latents = model.encode(to_float(images))
    give_latents(stage, recipe, latents, torch.full((len(latents),), -1))
    return stage


def old_stage(model, images):
    """The same in revisions that had one module per file."""
    from nanoldm.recipes import RECIPES
    from nanoldm.stages import denoiser_stage, encode

    return denoiser_stage(RECIPES["mnist"](), encode(model.autoencoder, images))


def serve(compiled: bool) -> Iterator[dict[str, float]]:
    """In the process of one version: a training step or a round of sampling for each input line."""
    from nanoldm.data import load

    images, new = load("mnist")[0].images[:25_600], True
    try:
        from nanoldm.pipeline.latent_diffusion import LatentDiffusion
        from nanoldm.utils.device import prepare_torch
    except ImportError:
        from nanoldm.device import prepare_torch

        from nanoldm.pipeline import LatentDiffusion

        new = False
    prepare_torch("cpu")
    model = LatentDiffusion.from_pretrained("mnist")  # of the version itself
    stage = new_stage(model, images, compiled) if new else old_stage(model, images)
    stage.loss_module.denoiser.network.load_state_dict(model.denoiser.network.state_dict())
    steps = stage.run(46_800) if new else stage.run()
    for line in sys.stdin:
        began = time.perf_counter()
        if line.strip() == "train":
            yield {"loss": next(steps).loss.item(), "seconds": time.perf_counter() - began}
        elif line.strip() == "compile":
            yield {"compiled": model.compile() is not None}
        else:
            model.generate(range(IMAGES), steps=REVERSE_STEPS)
            yield {"seconds": time.perf_counter() - began}


def start(source: Path, compiled: bool = False) -> subprocess.Popen:
    command = [sys.executable, __file__, "--serve", *(["--compile"] if compiled else [])]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(source / "src")},
                            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(process: subprocess.Popen, task: str) -> dict[str, float]:
    process.stdin.write(task + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def main() -> None:
    revision = sys.argv[1] if len(sys.argv) > 1 else "d80a344"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(f"git -C {ROOT} archive {revision} src | tar -x -C {folder}", shell=True,
                       check=True)
        versions = {revision: start(Path(folder)), "now": start(ROOT),
                    "now --compile": start(ROOT, compiled=True)}
        turns = [{name: ask(process, "train") for name, process in versions.items()}
                 for _ in range(count)]
        ask(versions["now --compile"], "compile")
        sampling = [{name: ask(process, "sample") for name, process in versions.items()}
                    for _ in range(ROUNDS + 1)][1:]
        for process in versions.values():
            process.kill()
    for name in versions:
        step = statistics.median(turn[name]["seconds"] for turn in turns[3:])
        faster = statistics.median(turn[revision]["seconds"] / turn[name]["seconds"]
                                   for turn in turns[3:])
        sample = statistics.median(turn[name]["seconds"] for turn in sampling)
        sampling_faster = statistics.median(turn[revision]["seconds"] / turn[name]["seconds"]
                                            for turn in sampling)
        apart = max(abs(turn[name]["loss"] - turn[revision]["loss"]) for turn in turns)
        print(f"{name:14} training step {step:.3f} s ({faster:.2f}x); {IMAGES} images in "
              f"{REVERSE_STEPS} steps {sample:.2f} s ({sampling_faster:.2f}x); losses of {count} "
              f"steps differ from {revision} by at most {apart:.1e}")


if __name__ == "__main__":
    if "--serve" in sys.argv:
        for answer in serve("--compile" in sys.argv):
            print(json.dumps(answer), flush=True)
    else:
        main()
