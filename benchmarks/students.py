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

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.data import load
from nanoldm.diffusion import Denoiser, DenoisingLoss, DistillationLoss, NoiseSchedule
from nanoldm.diffusion.samplers.ddim import ddim
from nanoldm.diffusion.samplers.transition import transitions
from nanoldm.diffusion.schedule import corrupt, expand
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments.batches import latent_batches, pair_batches
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.run_checks import read_recipe
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.stages import as_pairs
from nanoldm.experiments.student import HELD_OUT, load_teacher
from nanoldm.models import DiffusionNet
from nanoldm.models.embedding import TimeEmbedder
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training.batches import batch_indices
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import load_tensors
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.seeding import Stream, generator

NOISIEST, SECOND = 0.3, 0.15  # shares of the timesteps of reflow
FINEST = 6  # of ect: r is at last t - ceil((t + 1) / 2^6)
SHORT = 4  # timesteps of the flow map that the teacher takes
WHOLE_WAY = 0.2  # share of its passes from the noisiest timestep to the image


def reflow_batches(pairs: dict[str, Tensor], timesteps: tuple[int, int],
                   batch_size: int) -> Iterator[dict[str, Tensor]]:
    for step, index in batch_indices(len(pairs["x0"]), batch_size, 0):
        stream = generator(0, Stream.NOISE, step)
        kind = torch.rand(len(index), generator=stream)
        t = torch.randint(timesteps[0] + 1, (len(index),), generator=stream)
        t[kind < NOISIEST] = timesteps[0]
        t[kind > 1 - SECOND] = timesteps[1]
        yield {"x0": pairs["x0"][index], "t": t, "eps": pairs["x_T"][index],
               "label": pairs["label"][index]}


class ConsistencyLoss(nn.Module):
    """MSE between x0 at t and x0 at r < t, without gradient; r = -1 is the clean image."""

    def __init__(self, denoiser: Denoiser, steps: int = 1000):
        super().__init__()
        self.denoiser, self.steps, self.step = denoiser, steps, 0

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        schedule = self.denoiser.schedule
        r = t - torch.ceil((t + 1) / 2 ** ((FINEST + 1) * self.step // self.steps)).long()
        self.step += 1
        with torch.no_grad():
            known = self.denoiser(corrupt(x0, eps, *schedule(r)), r.clamp(min=0), label).x0
            target = torch.where(expand(r < 0, x0), x0, known)
        return F.mse_loss(self.denoiser(corrupt(x0, eps, *schedule(t)), t, label).x0, target)


def renoised(denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps, noise):
    """Sampling of consistency models (Song et al. 2023, arXiv 2303.01469, algorithm 1)."""
    x = x_T
    for step in transitions(schedule, timesteps, x_T.device):
        estimate = denoise(x, step.t)
        x = estimate.x0 if step.last else step.alpha_s * estimate.x0 + step.sigma_s * noise()
        yield x, estimate


class TwoTimes(DiffusionNet):
    """A DiffusionNet that also knows `end`, the timestep where its pass ends: (B,) or (1,)."""

    end: Tensor

    def __init__(self, **options):
        super().__init__(**options)
        self.end_time = TimeEmbedder(self.shape.width)
        nn.init.zeros_(self.end_time[-1].weight)
        nn.init.zeros_(self.end_time[-1].bias)

    def conditioning(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        return super().conditioning(t, label) + self.end_time(self.end)


class FlowMapLoss(nn.Module):
    """MSE between the end of a pass from t to r and that of two passes of half its length."""

    def __init__(self, denoiser: Denoiser, teacher: Denoiser):
        super().__init__()
        self.denoiser = denoiser
        self.teacher = [teacher]  # in a list: not a part of what is trained

    def jump(self, denoiser: Denoiser, x: Tensor, t: Tensor, r: Tensor, label: Tensor) -> Tensor:
        """x_t to x_r, as ddim goes."""
        denoiser.network.end = r
        alpha, sigma = (expand(level, x) for level in denoiser.schedule(r))
        estimate = denoiser(x, t.clamp(min=0), label)
        return torch.where(expand(t > r, x), alpha * estimate.x0 + sigma * estimate.eps, x)

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        t = t.masked_fill(torch.rand(len(t)) < WHOLE_WAY, self.denoiser.schedule.timesteps - 1)
        r = (torch.rand(len(t)) * (t + 1)).long() - 1
        r = r.masked_fill(torch.rand(len(t)) < WHOLE_WAY, -1)
        x_t, middle = corrupt(x0, eps, *self.denoiser.schedule(t)), (t + r) // 2
        with torch.no_grad():
            half = self.jump(self.denoiser, x_t, t, middle, label)
            halves = self.jump(self.denoiser, half, middle, r, label)
            short = self.jump(self.teacher[0], x_t, t, r, label)
            target = torch.where(expand(t - r <= SHORT, x0), short, halves)
        return F.mse_loss(self.jump(self.denoiser, x_t, t, r, label), target)


def mapped(denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps, noise, network: TwoTimes):
    """ddim whose network knows where each pass ends."""
    ends = iter([*timesteps[1:], -1])

    def known_end(x: Tensor, t: Tensor):
        network.end = torch.tensor([next(ends)])
        return denoise(x, t)

    return ddim(known_end, x_T, schedule, timesteps, noise)


class Race:
    """The contenders: a teacher, its pairs, its training images, and the judge of all."""

    def __init__(self, run: Path, seconds: float, images: int):
        folder = RunFolder(run)
        self.recipe: Recipe = read_recipe(folder.recipe)
        self.teacher = load_teacher(self.recipe, "cpu")
        self.timesteps = LatentDiffusion.from_pretrained(run).choose().timesteps
        self.pairs, _ = load_tensors(folder.checkpoint("pairs"))
        self.seconds, self.images = seconds, images
        train, test = load("mnist")
        self.labels = train.labels
        self.latents = self.teacher.encode(to_float(train.images))
        self.judge = Judge(load_features(), train, test)

    def report(self, name: str, model: LatentDiffusion, **settings) -> None:
        images = model.generate(range(self.images), **settings)
        seen = self.judge.observe(to_bytes(images), nearest=False)
        print(f"{name}: {self.judge.to_test(seen)['frechet_test']:.3f}", flush=True)

    def train(self, loss: nn.Module, batches) -> LatentDiffusion:
        """Train for about `seconds` -> the model with EMA weights."""
        training = self.recipe.training
        stage = Stage("student", loss, training, 0, loss.denoiser.network.matrices())
        stage.batches = batches
        stage.use_precision("bf16")
        steps = int(self.seconds / stage.seconds_per_step(5))
        if isinstance(loss, ConsistencyLoss):
            loss.step, loss.steps = 0, steps
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

    def pair_batches(self, timesteps: tuple[int, ...]):
        loss = DistillationLoss(self.copy(), timesteps)
        stage = Stage("student", loss, self.recipe.training, 0)
        pairs = as_pairs(stage, self.pairs["x_T"], self.pairs["x0"], self.pairs["labels"])
        pairs = {name: values[:-HELD_OUT] for name, values in pairs.items()}
        size = self.recipe.training.batch_size
        return loss, pairs, lambda start: pair_batches(pairs, size, 0, start)

    def real_batches(self, start: int):
        recipe = self.recipe
        return latent_batches(self.latents, recipe.training.batch_size,
                              self.teacher.denoiser.schedule.timesteps, 0, start, "uniform",
                              self.labels, recipe.diffusion.label_dropout)


def unrolled(race: Race) -> None:
    for passes in (1, 2):
        timesteps = race.timesteps[:passes]
        loss, _, batches = race.pair_batches(timesteps)
        race.report(f"unrolled, passes {passes}", race.train(loss, batches), sampler="ddim",
                    timesteps=timesteps, clamp=False)


def few_passes(race: Race, name: str, model: LatentDiffusion, **settings) -> None:
    """Report one model with 1 and 2 passes."""
    for passes in (1, 2):
        race.report(f"{name}, passes {passes}", model, timesteps=race.timesteps[:passes],
                    **settings)


def reflow(race: Race) -> None:
    _, pairs, _ = race.pair_batches(race.timesteps)
    size = race.recipe.training.batch_size
    model = race.train(DenoisingLoss(race.copy()),
                       lambda start: reflow_batches(pairs, race.timesteps, size))
    few_passes(race, "reflow", model, sampler="ddim")


def ect(race: Race) -> None:
    model = race.train(ConsistencyLoss(race.copy()), race.real_batches)
    few_passes(race, "ect", model, sampler=renoised)


def flow_map(race: Race) -> None:
    torch.manual_seed(0)
    denoiser = race.copy()
    network = TwoTimes(**denoiser.network.config)
    network.load_state_dict(denoiser.network.state_dict(), strict=False)
    denoiser.network = network
    model = race.train(FlowMapLoss(denoiser, race.teacher.denoiser), race.real_batches)

    def sampler(*arguments):
        return mapped(*arguments, network=model.denoiser.network)

    few_passes(race, "flow map", model, sampler=sampler)


METHODS = {"unrolled": unrolled, "reflow": reflow, "ect": ect, "flow-map": flow_map}


def main(run: tyro.conf.Positional[Path], seconds: float = 300, images: int = 5000,
         methods: tuple[str, ...] = tuple(METHODS)) -> None:
    prepare_torch("cpu", threads=1)
    race = Race(run, seconds, images)
    race.report(f"teacher, passes {race.teacher.settings.steps}", race.teacher)
    for name in methods:
        METHODS[name](race)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
