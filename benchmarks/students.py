"""Ways to train a model for few passes, in the same time: which comes nearest to real images?

    nanoldm distill mnist-fast-conditional --passes 2 --pairs 60000 --out runs/two
    python benchmarks/students.py runs/two --seconds 300

All begin with the weights of the teacher and have the settings of `nanoldm distill`.

- unrolled: DistillationLoss, as `distill` trains; one student for 1 pass and one for 2.
- reflow (Liu et al. 2022, arXiv 2209.03003): DenoisingLoss on pairs of the teacher; 0.3 of the
  timesteps are the noisiest one, 0.15 that of the second pass, the others are uniform.
- ect (consistency tuning, Geng et al. 2024, arXiv 2406.14548): on real images; x0 estimated at t
  equals x0 estimated at r < t with the same noise. r = t - ceil((t + 1) / 2^k), and k grows from 0
  to 6 during the run.
- flow map: a second time says where a pass ends (Frans et al. 2024, arXiv 2410.12557). A pass
  equals two passes of half its length; one of at most 4 timesteps equals ddim with the teacher.

The first two also need the pairs, which take minutes to record. Prints the Frechet distance to the
test set.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
import tyro
from student_losses import ConsistencyLoss, FlowMapLoss, TwoTimes, mapped, renoised
from torch import Tensor, nn

from nanoldm.data import load
from nanoldm.diffusion import Denoiser, DenoisingLoss, DistillationLoss
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments.batches import Batches, latent_batches, pair_batches
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.run_checks import read_recipe
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.train_student import HELD_OUT, load_teacher
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training.batches import batch_indices
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import load_tensors
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.seeding import Stream, generator

NOISIEST, SECOND = 0.3, 0.15  # shares of the timesteps of reflow
FINEST = 6  # of ect: r is at last t - ceil((t + 1) / 2^6)


def reflow_batches(pairs: dict[str, Tensor], timesteps: tuple[int, int],
                   batch_size: int) -> Batches:
    for step, index in batch_indices(len(pairs["x0"]), batch_size, 0):
        stream = generator(0, Stream.NOISE, step)
        kind = torch.rand(len(index), generator=stream)
        t = torch.randint(timesteps[0] + 1, (len(index),), generator=stream)
        t[kind < NOISIEST] = timesteps[0]
        t[kind > 1 - SECOND] = timesteps[1]
        yield {"x0": pairs["x0"][index], "t": t, "eps": pairs["x_T"][index],
               "label": pairs["label"][index]}


class Race:
    """The contenders: a teacher, its pairs, its training images, and the judge of all."""

    def __init__(self, run: Path, seconds: float, images: int, rate: float | None):
        folder = RunFolder(run)
        self.recipe: Recipe = read_recipe(folder.recipe)
        if rate is not None:
            self.recipe = self.recipe.replace(training={"learning_rate": rate})
        self.teacher = load_teacher(self.recipe, "cpu")
        self.timesteps = LatentDiffusion.from_pretrained(run).choose().timesteps
        pairs, _ = load_tensors(folder.checkpoint("pairs"))
        pairs["label"] = pairs.pop("labels")
        self.pairs = {name: values[:-HELD_OUT] for name, values in pairs.items()}
        self.batch_size = self.recipe.training.batch_size
        self.seconds, self.images = seconds, images
        train, test = load("mnist")
        self.labels = train.labels
        self.latents = self.teacher.encode(to_float(train.images))
        self.judge = Judge(load_features(), train, test)

    def report(self, name: str, model: LatentDiffusion, **settings) -> None:
        images = model.generate(range(self.images), **settings)
        seen = self.judge.observe(to_bytes(images), nearest=False)
        print(f"{name}: {self.judge.to_test(seen)['frechet_test']:.3f}", flush=True)

    def train(self, loss: nn.Module, batches: Callable[[int], Batches]) -> LatentDiffusion:
        """Train for about `seconds` -> the model with EMA weights.

        batches(steps): those of a training of so many steps.
        """
        training = self.recipe.training
        stage = Stage("student", loss, training, 0, loss.denoiser.network.matrices())
        stage.use_precision("bf16")
        stage.batches = lambda start: batches(1000)
        steps = int(self.seconds / stage.seconds_per_step(5))
        stage.batches = lambda start: batches(steps)
        print(f"  {steps} steps", flush=True)
        for _ in stage.run(steps):
            pass
        model = LatentDiffusion(self.teacher.autoencoder, stage.averaged.denoiser.eval(),
                                self.teacher.clip_sample_range, settings=self.teacher.settings,
                                class_names=self.teacher.class_names)
        model.denoiser.precision = "fp32"
        return model

    def copy(self) -> Denoiser:
        return deepcopy(self.teacher.denoiser).requires_grad_(True)

    def real_batches(self) -> Batches:
        return latent_batches(self.latents, self.batch_size,
                              self.teacher.denoiser.schedule.timesteps, 0, labels=self.labels,
                              label_dropout=self.recipe.diffusion.label_dropout)

    def consistency_batches(self, steps: int) -> Batches:
        """Real ones, with a destination r that comes nearer to t during the training."""
        for step, batch in enumerate(self.real_batches()):
            gap = torch.ceil((batch["t"] + 1) / 2 ** ((FINEST + 1) * step // steps)).long()
            yield batch | {"r": batch["t"] - gap}


def unrolled(race: Race) -> None:
    for passes in (1, 2):
        timesteps = race.timesteps[:passes]
        model = race.train(DistillationLoss(race.copy(), timesteps),
                           lambda steps: pair_batches(race.pairs, race.batch_size, 0))
        race.report(f"unrolled, passes {passes}", model, sampler="ddim", timesteps=timesteps,
                    clamp=False)


def few_passes(race: Race, name: str, model: LatentDiffusion, **settings) -> None:
    """Report one model with 1 and 2 passes."""
    for passes in (1, 2):
        race.report(f"{name}, passes {passes}", model, timesteps=race.timesteps[:passes],
                    **settings)


def reflow(race: Race) -> None:
    model = race.train(DenoisingLoss(race.copy()), lambda steps: reflow_batches(
        race.pairs, race.timesteps, race.batch_size))
    few_passes(race, "reflow", model, sampler="ddim")


def ect(race: Race) -> None:
    model = race.train(ConsistencyLoss(race.copy()), race.consistency_batches)
    few_passes(race, "ect", model, sampler=renoised)


def flow_map(race: Race) -> None:
    torch.manual_seed(0)
    denoiser = race.copy()
    network = TwoTimes(**denoiser.network.config)
    network.load_state_dict(denoiser.network.state_dict(), strict=False)
    denoiser.network = network
    model = race.train(FlowMapLoss(denoiser, race.teacher.denoiser),
                       lambda steps: race.real_batches())

    def sampler(*arguments):
        return mapped(*arguments, network=model.denoiser.network)

    few_passes(race, "flow map", model, sampler=sampler)


METHODS = {"unrolled": unrolled, "reflow": reflow, "ect": ect, "flow-map": flow_map}


def main(run: tyro.conf.Positional[Path], seconds: float = 300, images: int = 5000,
         methods: tuple[str, ...] = tuple(METHODS), rate: float | None = None) -> None:
    """rate: learning rate (default: that of the run)."""
    prepare_torch("cpu", threads=1)
    race = Race(run, seconds, images, rate)
    race.report(f"teacher, passes {race.teacher.settings.steps}", race.teacher)
    for name in methods:
        METHODS[name](race)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
