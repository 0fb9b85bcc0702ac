"""Checks from the autoencoder to pure noise: the first that fails shows where to look."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nanoldm.diffusion import PREDICTIONS, corrupt
from nanoldm.evaluation import metrics
from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.reference import DEFAULT_REFERENCE, Reference, as_model, results_folder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import default_settings
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_json
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.seeding import generator

IMAGES = 200  # for checks with pictures
LATENTS = 2000  # for the statistics
SHOWN = 16

# Least coverage. Timesteps are for T = 100. Real images reach 0.97, the bundled `mnist` 1.00, 0.99,
# 0.95, 0.74 and 0.74; tests/evaluation/test_doctor.py breaks models on purpose.
DENOISING = {25: 0.95, 50: 0.75, 75: 0.4, 99: 0.2}
SAMPLING = 0.2

CAUSES = {
    "reconstruct": "encoder and decoder do not belong together (another file, shuffled weights), "
    "or the autoencoder was trained too short: look at samples/reconstructions.png of its run",
    "latent statistics": "latent_mean and latent_std do not fit this encoder: set_statistics must "
    "set them from the training latents after the last step of the autoencoder",
    "clamp": "clip_sample_range is smaller than the latents: it must be the largest |normalised "
    "latent| of the training set",
    "untrained": "the network removes no noise: untrained weights, or an EMA that was never "
    "updated",
    "schedule": "the network expects another noise schedule than the saved one: for noise of "
    "timestep {t} it is better with timestep {best} as input",
    "denoise": "the network is right about little noise and wrong about much: trained too short, "
    "an EMA that lags behind a short run, or latents that are hard to model (too many channels, "
    "not normalised)",
    "sample": "the model denoises but does not generate from noise: usually too little training",
}


@dataclass(frozen=True)
class Check:
    """Passes if `value` is `limit` ("at most" or "at least") `threshold`."""

    name: str
    metric: str
    value: float
    limit: str
    threshold: float

    @property
    def passed(self) -> bool:
        if self.limit == "at most":  # nan fails both
            return self.value <= self.threshold
        return self.value >= self.threshold

    def __str__(self) -> str:
        limit = f"{self.limit} {self.threshold:g}"
        result = "pass" if self.passed else "FAIL"
        return f"{self.name}: {self.metric} {self.value:.3f} ({limit}): {result}"


Checked = Iterator[tuple[Check, Image.Image]]


def examine(model: str | Path | LatentDiffusion, reference: Reference = DEFAULT_REFERENCE,
            out: Path | None = None) -> bool:
    """Run and print all checks -> whether all pass.

    Writes doctor.png and doctor.json to `out` (default: doctor/NAME).
    Raises InputError for a model, images or networks that cannot be loaded or do not fit.
    """
    model = as_model(model)
    out = results_folder("doctor", model.name, out)
    real = reference.load(model.name)
    test = to_float(real.test.images[:LATENTS])
    labels = model.known_labels(real.test.labels[:IMAGES])
    if len(test) < 2:
        raise InputError(f"{real.data.name} has {len(test)} test image, at least 2 are needed: add "
                         "images")
    checks, sheets = [], [("test images", pictures.grid(test[:SHOWN], SHOWN))]
    network = next(iter(real.features.networks.values()))
    for check, sheet in run_checks(model, test, network, labels):
        print(check, flush=True)
        checks.append(check)
        sheets.append((str(check), sheet))
    failed = next((check for check in checks if not check.passed), None)
    cause = find_cause(model, test, failed) if failed else None
    pictures.save(pictures.captioned(sheets), out / "doctor.png")
    found = {"model": model.name, "features": real.features.facts["name"],
             "first_failed": failed and failed.name, "cause": cause,
             "checks": [asdict(check) | {"passed": check.passed} for check in checks]}
    write_json(out / "doctor.json", found)
    verdict = f"fails at: {failed.name}. Usual cause: {cause}" if failed else "passes all checks"
    print(f"{model.name or 'the model'} {verdict}\nwrote doctor.png and doctor.json to {out}")
    return failed is None


def run_checks(model: LatentDiffusion, test: Tensor, network: metrics.FeatureNet,
               labels: Tensor | int = -1) -> Checked:
    """Yield each check with its picture.

    test: (N, C, S, S) in [0, 1]. labels: of the first IMAGES, -1 for a model without classes.
    """
    copies = model.reconstruct(test)
    error = ((copies - test).square().mean() / test.var(0, correction=0).mean()).item()
    check = Check("reconstruct", "unexplained variance", error, "at most", 0.1)
    yield check, pictures.grid(copies[:SHOWN], SHOWN)
    yield from check_latents(model, test)
    yield from check_denoising(model, test[:IMAGES], network, labels)


def check_latents(model: LatentDiffusion, test: Tensor) -> Checked:
    latents = model.encode(test)
    mean, std = latents.mean((0, 1)).cpu(), latents.std((0, 1)).cpu()
    error = torch.maximum(mean.abs().max(), (std - 1).abs().max()).item()
    metric, title = "largest |mean| or |std - 1| of a channel", "normalised latents of test images"
    bars = {"mean (0)": mean.tolist(), "standard deviation (1)": std.tolist()}
    check = Check("latent statistics", metric, error, "at most", 0.15)
    yield check, charts.bars(bars, title, "channel")
    limit = model.clip_sample_range
    beyond = (latents.abs() > limit).double().mean().item()
    bars = {"largest |latent|": latents.abs().amax((0, 1)).tolist()}
    check = Check("clamp", "share of latents beyond the clamp", beyond, "at most", 0.001)
    yield check, charts.bars(bars, f"clamp: {limit:.2f}", "channel")


def check_denoising(model: LatentDiffusion, images: Tensor, network: metrics.FeatureNet,
                    labels: Tensor | int) -> Checked:
    """From images with more and more noise, then from pure noise.

    By all steps of the default sampler; of a student only from pure noise, by its own steps.
    """
    real, count = metrics.extract(network, images)[0], len(images)
    k = min(metrics.NEIGHBOURS, count - 1)
    radius = metrics.radii(real, k)

    def coverage(name: str, made: Tensor, threshold: float) -> tuple[Check, Image.Image]:
        made = made.nan_to_num()  # nan becomes black, which covers nothing
        features = metrics.extract(network, to_bytes(made))[0]
        value = metrics.density_coverage(features, real, radius, k)[1]
        sheet = pictures.grid(made[:SHOWN], SHOWN)
        return Check(name, "coverage", value, "at least", threshold), sheet

    schedule = model.denoiser.schedule
    options = {"settings": model.settings_for(default_settings(schedule)), "progress": True}
    for percent, threshold in ({} if model.student else DENOISING).items():
        t = min(percent * schedule.timesteps // 100, schedule.timesteps - 1)
        _, made = model.denoise_from(images, t, count, labels, **options)
        yield coverage(f"denoise from t = {t}", made, threshold)
    # Other seeds than above: denoising from the last timestep has used those.
    made = model.generate(range(count, 2 * count), **options)
    yield coverage("sample from noise", made, SAMPLING)


def find_cause(model: LatentDiffusion, test: Tensor, failed: Check) -> str:
    """The usual cause of a failed check; for denoising, from errors on noised latents."""
    if not failed.name.startswith("denoise"):
        return CAUSES["sample" if failed.name.startswith("sample") else failed.name]
    x0, t = model.encode(test[: SHOWN * 4]), model.denoiser.schedule.timesteps // 2
    errors, scaled = x0_errors(model, x0, t)
    best = min(errors, key=errors.get)
    if not errors[best] < 0.9 * scaled:  # also for nan
        return CAUSES["untrained"]
    if errors[best] < 0.9 * errors[t]:
        return CAUSES["schedule"].format(best=best, t=t)
    return CAUSES["denoise"]


@torch.no_grad()
def x0_errors(model: LatentDiffusion, x0: Tensor, t: int) -> tuple[dict[int, float], float]:
    """MSE of x0 at noise level t for timesteps s as input of the network, and of a scaled x_t.

    The error is smallest at s = t, unless the network was trained with another schedule.
    """
    denoiser, limit, T = model.denoiser, model.clip_sample_range, model.denoiser.schedule.timesteps
    alpha, sigma = denoiser.schedule(torch.tensor(t, device=x0.device))
    eps = torch.randn(x0.shape, generator=generator(0, t)).to(x0.device)
    x_t, errors = corrupt(x0, eps, alpha, sigma), {}
    for s in sorted({*range(0, T, max(1, T // 25)), t}):
        output = denoiser.output(x_t, torch.tensor([s], device=x0.device))
        estimate = PREDICTIONS[denoiser.prediction].estimate(output, x_t, alpha, sigma)[0]
        errors[s] = (estimate.clamp(-limit, limit) - x0).square().mean().item()
    scale = (x_t * x0).mean() / x_t.square().mean()
    return errors, (scale * x_t - x0).square().mean().item()
