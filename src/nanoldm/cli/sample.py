"""Commands that generate: sample and denoise."""

from pathlib import Path
from typing import TYPE_CHECKING

from nanoldm.cli.options import (
    Count,
    File,
    LabelText,
    ModelMachine,
    ModelName,
    Picture,
    SamplingOptions,
    Shared,
    Text,
    command,
)
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.errors import InputError
from nanoldm.utils.ranges import parse_numbers, seed_list, seed_range
from nanoldm.utils.text import is_number

if TYPE_CHECKING:
    from nanoldm.pipeline.latent_diffusion import LatentDiffusion
    from nanoldm.pipeline.settings import Sampling

IMAGES, IMAGES_PER_LABEL = 64, 8  # by default
IMAGES_IN_GRID, IMAGES_IN_GIF, COLUMNS = 1024, 64, 16


@command
class Sample(SamplingOptions, Shared, ModelMachine):
    """Generate new images with a trained model.

    Example: nanoldm sample --n 64 --seed 0 --out samples.png

    Other settings: nanoldm sample mnist-fast --sampler dpm++2m --steps 16 --spacing shifted

    Chosen digits: nanoldm sample mnist-fast-conditional --label 0-9 --guidance 2
    """

    model: ModelName = DEFAULT_MODEL
    # How many images (default: 64; 8 of each where --label names several, one row each).
    n: Count = None
    # Seed of the first image; the next images count up (default: 0).
    seed: Count = None
    # Seeds by name instead of --n and --seed, such as 3,7,20-29.
    seeds: Text = None
    # Class to generate, for models with classes: its number or name, or several in turn, such as
    # 0-9 or cat,dog, or none (default: random). nanoldm info MODEL lists them.
    label: LabelText = ""
    # The grid of images.
    out: Picture = Path("samples.png")
    # Also write the images as an array: `images`, uint8 (N, S, S) or (N, S, S, 3), and `labels` for
    # models with classes.
    npz: File = None
    # Also write a GIF of the steps: x_t and the estimate of x0.
    trajectory: File = None

    def run(self) -> None:
        from nanoldm.pipeline.labels import in_turn, labels_of
        from nanoldm.utils.distributed import is_main

        labels = labels_of(self.model, self.label)
        rows = labels if labels and len(labels) > 1 else []
        default = IMAGES_PER_LABEL * len(rows) if rows else IMAGES
        seeds = parse_seeds(self.n, self.seed, self.seeds, default)
        self.check_targets()
        model = self.load(self.model)
        settings = choose(model, self.changes())
        given = in_turn(labels, len(seeds))
        images = model.generate_shared(seeds, given, settings=settings, progress=True)
        if not is_main():
            return
        used = model.conditioning(seeds, given, settings) if model.classes else None
        self.write(images, [model.class_names.get(row, str(row)) for row in rows], used)
        if self.trajectory:
            part = seeds[:IMAGES_IN_GIF]
            self.write_trajectory(model, part, in_turn(labels, len(part)), settings)

    def check_targets(self) -> None:
        from nanoldm.utils.images import FORMATS
        from nanoldm.utils.paths import check_apart, check_target

        check_target(self.out, *FORMATS)
        check_apart(self.out, self.trajectory)
        if self.trajectory:
            check_target(self.trajectory, ".gif")
        if self.npz:
            check_target(self.npz, ".npz")

    def write(self, images, rows: list[str], labels) -> None:
        """Write the grid, with a row for each class of `rows`, and the array.

        Rows have captions, unless the names of the classes are numbers.
        """
        from nanoldm.data.npz import save_npz
        from nanoldm.utils.images import captioned, grid, save

        shown, count = images[:IMAGES_IN_GRID], len(rows)
        if all(map(is_number, rows)):
            sheet = grid(shown, rows=count or None)
        else:
            sheet = captioned((name, grid(shown[k::count], len(shown[::count])))
                              for k, name in enumerate(rows) if len(shown[k::count]))
        if self.npz:
            save_npz(self.npz, images, **({} if labels is None else {"labels": labels.numpy()}))
            print(f"wrote {self.npz}: {len(images)} images")
        save(sheet, self.out)
        more = f" (the first of {len(images)})" if len(images) > len(shown) else ""
        print(f"wrote {self.out}: {len(shown)} images{more}")

    def write_trajectory(self, model: "LatentDiffusion", seeds, labels, settings) -> None:
        from tqdm.auto import tqdm

        from nanoldm.utils.images import captioned, grid, save_gif

        steps = model.trajectory(seeds, labels, settings=settings)
        total = len(settings.timesteps)
        frames = [captioned([("x_t", grid(x)), ("estimate of x0", grid(x0))], across=True)
                  for x, x0 in tqdm(steps, desc="trajectory", total=total, unit="step", delay=1)]
        save_gif(frames, self.trajectory)
        print(f"wrote {self.trajectory}: {len(frames)} steps of {len(seeds)} images")


@command
class Denoise(SamplingOptions, ModelMachine):
    """Noise real test images to timestep t, denoise them, and compare with the originals.

    A model that denoises well and samples badly fails at the noisiest timesteps. A model with
    classes is conditioned on the labels of the images.

    Example: nanoldm denoise mnist-fast --t 75
    """

    model: ModelName = DEFAULT_MODEL
    # Timestep to noise to; 0 is the least noisy.
    t: int = 75
    # How many test images.
    n: int = 16
    # Seed of the noise of the first image; the next images count up.
    seed: int = 0
    # The comparison, as a picture.
    out: Picture = Path("denoise.png")

    def run(self) -> None:
        from nanoldm.pipeline.own_images import own_test_set
        from nanoldm.utils.images import FORMATS, to_float
        from nanoldm.utils.paths import check_target

        seeds = list(seed_range(self.n, self.seed))
        check_target(self.out, *FORMATS)
        model = self.load(self.model)
        settings = choose(model, self.changes(), self.t)
        test = own_test_set(self.model)
        images = to_float(test.images[: self.n])
        if len(images) < self.n:
            raise InputError(f"n {self.n}: the model has only {len(images)} test images")
        labels = model.known_labels(test.labels[: self.n])
        noised, result = model.denoise_from(images, self.t, seeds, labels, settings=settings,
                                            progress=True)
        rows = {"test images": images, "reconstructed": model.reconstruct(images)}
        save_rows(rows | {f"noised to t = {self.t}": noised, "denoised": result}, self.out)
        print(f"wrote {self.out}: {self.n} test images, noised to t = {self.t} and denoised")


def choose(model: "LatentDiffusion", changes: dict, start: int | None = None) -> "Sampling":
    """The model's settings with the options of a command; prints a note if steps merge."""
    settings = model.choose(start=start, **changes)
    if settings.merged:
        print(settings.merged)
    return settings


def save_rows(rows: dict, out: Path) -> None:
    """Write {caption: images (N, C, S, S)} as rows of a picture."""
    from nanoldm.utils.images import captioned, grid, save

    save(captioned((name, grid(part, COLUMNS)) for name, part in rows.items()), out)


def parse_seeds(n: int | None, seed: int | None, seeds: str | None, default: int) -> list[int]:
    """Seeds by number (n, seed) or by name ("3,7,20-29"). Raises InputError if both are given."""
    if seeds is None:
        return list(seed_range(default if n is None else n, seed or 0))
    if n is not None or seed is not None:
        raise InputError("--seeds names every image: leave out --n and --seed")
    return seed_list(parse_numbers("seeds", seeds, "3,7,20-29"))
