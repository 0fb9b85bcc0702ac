"""A ladder from the autoencoder to pure noise: the first rung that breaks says where to look."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nanoldm.diffusion import PREDICTIONS, corrupt
from nanoldm.evaluation import metrics
from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.features import Features, images_to_judge, load_features
from nanoldm.experiments.stages import known
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_json
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.paths import check_folder
from nanoldm.utils.seeding import generator

IMAGES = 200                # for each rung with pictures
LATENTS = 2000              # for the statistics
NEIGHBOURS = 5
SHOWN = 16

# Coverage: the share of real images among whose nearest neighbours lies an image of the model; real images reach 0.97.
# Timesteps are for T = 100. The bundled `mnist` reaches 1.00, 0.99, 0.73, 0.37, 0.45; tests/test_doctor.py breaks models on purpose.
DENOISING = {25: 0.95, 50: 0.75, 75: 0.4, 99: 0.2}
SAMPLING = 0.2

CAUSES = {
    "reconstruct": "encoder and decoder do not belong together (another file, shuffled weights), or the autoencoder was trained too short: "
                   "look at samples/reconstructions.png of its run",
    "latent statistics": "latent_mean and latent_std do not fit this encoder: they must be set from the training latents after the last "
                         "step of the autoencoder (set_statistics), and saved with it",
    "clamp": "clip_sample_range is smaller than the latents: it must be the largest |normalised latent| of the training set",
    "untrained": "the network removes no noise at all: untrained weights, or an EMA that never took in the trained ones",
    "schedule": "the network expects another noise schedule than the one saved with it: on these images it does better when it is told "
                "timestep {best} instead of {t}",
    "denoise": "the network is right about little noise and wrong about much: trained too short, an EMA that lags behind a short run, "
               "or latents that are hard to model (too many channels, not normalised)",
    "sample": "the model denoises and does not find the data from pure noise: usually too little training, or sampler options that skip "
              "the noisiest timesteps",
}


@dataclass(frozen=True)
class Rung:
    """name, what was measured, its value and its limit: "at most" for an error, "at least" for coverage."""

    name: str
    measure: str
    value: float
    limit: str
    threshold: float

    @property
    def passed(self) -> bool:
        return self.value <= self.threshold if self.limit == "at most" else self.value >= self.threshold      # nan fails both

    def __str__(self) -> str:
        return f"{self.name}: {self.measure} {self.value:.3f} ({self.limit} {self.threshold:g}): {'pass' if self.passed else 'FAIL'}"


def examine(model: str | Path, *, features: str | Path | Features = "digits-v1", out: Path | None = None,
            device: torch.device | str = "cpu", data: str | None = None) -> bool:
    """Climb the ladder, print each rung, write doctor.png and doctor.json to `out` (default: doctor/NAME); True if all rungs hold.

    data: test images of these instead of the model's own data.
    Raises InputError for a model, data or networks that cannot be loaded or do not fit.
    """
    pipeline, judges = LatentDiffusion.from_pretrained(model, device), load_features(features)
    data, _, real = images_to_judge(judges, model, data)
    test, labels = to_float(real.images[:LATENTS]), known(real.labels[:IMAGES], pipeline.denoiser.classes)
    if len(test) < 2:
        raise InputError(f"{data.name} has {len(test)} test image, and at least 2 are needed: add images")
    out = out or Path("doctor") / Path(model).resolve().name
    check_folder(out)
    rungs, sheets = [], [("test images", pictures.grid(test[:SHOWN], SHOWN))]
    for rung, sheet in climb(pipeline, test, next(iter(judges.networks.values())), labels):
        print(rung, flush=True)
        rungs.append(rung)
        sheets.append((str(rung), sheet))
    broken = next((rung for rung in rungs if not rung.passed), None)
    cause = find_cause(pipeline, test, broken) if broken else None
    verdict = f"breaks at: {broken.name}. Usually: {cause}" if broken else "all rungs hold"
    pictures.save(pictures.captioned(sheets), out / "doctor.png")
    write_json(out / "doctor.json", {"model": str(model), "features": judges.facts["name"], "first_broken": broken and broken.name,
                                     "cause": cause, "rungs": [asdict(rung) | {"passed": rung.passed} for rung in rungs]})
    print(f"{model} {verdict}\nwrote {out / 'doctor.png'} and doctor.json beside it")
    return broken is None


def climb(pipeline: LatentDiffusion, test: Tensor, network: metrics.FeatureNet, labels: Tensor | int = -1):
    """Yield each rung with its picture. test: (N, C, S, S) in [0, 1]; labels: of the first IMAGES, -1 for a model without classes."""
    images = test[:IMAGES]
    real = metrics.extract(network, images)[0]
    k = min(NEIGHBOURS, len(real) - 1)
    radius = metrics.radii(real, k)

    def coverage(name: str, made: Tensor, threshold: float) -> tuple[Rung, Image.Image]:
        made = made.nan_to_num()        # what is no number is black here, which covers nothing
        value = metrics.density_coverage(metrics.extract(network, to_bytes(made))[0], real, radius, k)[1]
        return Rung(name, "coverage", value, "at least", threshold), pictures.grid(made[:SHOWN], SHOWN)

    copies = pipeline.reconstruct(test)
    unexplained = ((copies - test).square().mean() / test.var(0, correction=0).mean()).item()
    yield Rung("reconstruct", "unexplained variance", unexplained, "at most", 0.1), pictures.grid(copies[:SHOWN], SHOWN)

    latents = pipeline.encode(test)
    mean, std = latents.mean((0, 1)).cpu(), latents.std((0, 1)).cpu()
    deviation = torch.maximum(mean.abs().max(), (std - 1).abs().max()).item()
    yield (Rung("latent statistics", "largest |mean| or |deviation - 1| of a channel", deviation, "at most", 0.15),
           charts.bars({"mean (0)": mean.tolist(), "deviation (1)": std.tolist()}, "normalised latents of test images", "channel"))
    beyond = (latents.abs() > pipeline.clip_sample_range).double().mean().item()
    yield (Rung("clamp", "share of latents beyond the clamp", beyond, "at most", 0.001),
           charts.bars({"largest |latent|": latents.abs().amax((0, 1)).tolist()}, f"clamp: {pipeline.clip_sample_range:.2f}", "channel"))

    T = pipeline.denoiser.schedule.timesteps
    seeds = range(len(images))
    for percent, threshold in DENOISING.items():
        t = min(percent * T // 100, T - 1)
        yield coverage(f"denoise from t = {t}", pipeline.denoise_from(images, t, seeds, labels=labels, progress=True)[1], threshold)
    # Other seeds than above: denoising from the last timestep has drawn these already.
    yield coverage("sample from noise", pipeline.generate(range(len(images), 2 * len(images)), progress=True), SAMPLING)


def find_cause(pipeline: LatentDiffusion, test: Tensor, broken: Rung) -> str:
    """What usually breaks that rung; for a denoiser, found out by asking it about half noised latents."""
    if not broken.name.startswith("denoise"):
        return CAUSES["sample" if broken.name.startswith("sample") else broken.name]
    x0, t = pipeline.encode(test[:SHOWN * 4]), pipeline.denoiser.schedule.timesteps // 2
    told, scaled = x0_errors(pipeline, x0, t)
    best = min(told, key=told.get)
    if not told[best] < 0.9 * scaled:       # also when it is not a number
        return CAUSES["untrained"]
    return CAUSES["schedule"].format(best=best, t=t) if told[best] < 0.9 * told[t] else CAUSES["denoise"]


@torch.no_grad()
def x0_errors(pipeline: LatentDiffusion, x0: Tensor, t: int) -> tuple[dict[int, float], float]:
    """Mean squared error of x0 at noise level t when the network is told timestep s, by s; and that of the best scaled copy of x_t.

    A network is at its best when told the truth, unless it was trained with another schedule.
    """
    denoiser, device = pipeline.denoiser, x0.device
    alpha, sigma = denoiser.schedule(torch.tensor(t, device=device))
    eps = torch.randn(x0.shape, generator=generator(0, t)).to(device)
    x_t = corrupt(x0, eps, alpha, sigma)
    told = {}
    for s in sorted({*range(0, denoiser.schedule.timesteps, max(1, denoiser.schedule.timesteps // 25)), t}):
        output = denoiser.network(x_t, torch.tensor([s], device=device))
        estimate = PREDICTIONS[denoiser.prediction].estimate(output, x_t, alpha, sigma)[0]
        told[s] = (estimate.clamp(-pipeline.clip_sample_range, pipeline.clip_sample_range) - x0).square().mean().item()
    scale = (x_t * x0).mean() / x_t.square().mean()
    return told, (scale * x_t - x0).square().mean().item()
