"""Commands that edit an image with a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from nanoldm.cli.options import AS_USUAL, Device, Drawn, File, Model, Picture, Text, Threads
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.errors import InputError
from nanoldm.utils.options import parse_seeds

if TYPE_CHECKING:
    from nanoldm.cli.retouch import Given

Input = Positional[Annotated[str, arg(metavar="IMAGE", help="An image file: fitted to the model's size, channels and polarity, which a "
                                      "message describes. Or test:3, an image of the model's own test set.")]]
Towards = Annotated[str, arg(metavar="LABEL", help_behavior_hint="", help="Class of the results, for models that know labels: its "
                                    "number or name, or several in turn, such as 0-9 or cat,dog (default: none).")]


@dataclass(frozen=True)
class FittingOptions:
    """How an image file is fitted to what the model draws."""

    fit: Annotated[bool, arg(help="Choose the polarity, and for models of strokes cut out the ink and centre it; --no-fit only crops to a "
                             "centred square and resizes.")] = True
    invert: Annotated[bool, FlagCreatePairsOff, arg(help="The other polarity than the one that was chosen.")] = False

    def given(self, *names: str) -> "Given":
        from nanoldm.cli.retouch import Given
        return Given(names, self.fit, self.invert)


Fitting = Annotated[FittingOptions, OmitArgPrefixes]
AS_FITS = FittingOptions()


def img2img(model: Model, image: Input, *, t: int = 50, n: int = 8, seed: int = 0, label: Towards = "", sampling: Drawn = AS_USUAL,
            fitting: Fitting = AS_FITS, out: Picture = Path("img2img.png"), device: Device = "auto", threads: Threads = None) -> None:
    """Noise an image to timestep t and denoise it: coarse shapes stay, what the noise has hidden is drawn anew (SDEdit).

    Example: nanoldm img2img mnist-fast photo.png --t 50 --n 8

    Args:
        t: Timestep to noise to: 0 keeps nearly all of the image, the last timestep nothing.
        n: How many results.
        seed: Of the first result's noise; the next ones count up.
        out: Input, reconstruction, noised and results, as a picture.
    """
    numbers = parse_seeds(n, seed, None)
    from nanoldm.cli import retouch
    from nanoldm.pipeline.labels import labels_of
    from nanoldm.utils.device import prepare_torch
    retouch.img2img(model, fitting.given(image), t, numbers, labels_of(model, label), sampling.drawing(model, t), out,
                    prepare_torch(device, threads))


def inpaint(model: Model, image: Input, *, mask: Annotated[str, arg(metavar="MASK")], n: int = 8, seed: int = 0, label: Towards = "",
            sampling: Drawn = AS_USUAL, fitting: Fitting = AS_FITS, out: Picture = Path("inpaint.png"), device: Device = "auto",
            threads: Threads = None) -> None:
    """Paint a part of an image anew so that it fits the rest, which stays as it is, bit for bit.

    By default in 20 steps of ddpm-repaint, which takes each step five times: new pixels get time to fit the known ones (ddim for flows).

    Example: nanoldm inpaint mnist-fast test:0 --mask right

    Args:
        mask: An image file, white where it is to be painted anew; or left, right, top or bottom, to paint that half. A mask of the shape
            of the image file follows its crop; others are laid over the image as fitted, and resized to it.
        n: How many results.
        seed: Of the first result; the next ones count up.
        out: Input, mask and results, as a picture.
    """
    numbers = parse_seeds(n, seed, None)
    from nanoldm.cli import retouch
    from nanoldm.pipeline.labels import labels_of
    from nanoldm.utils.device import prepare_torch
    settings = sampling.settings(model, grid="shifted")
    retouch.inpaint(model, fitting.given(image), mask, numbers, labels_of(model, label), settings, out, prepare_torch(device, threads))


def interpolate(model: Model = DEFAULT_MODEL, *, seeds: Text = None, images: Annotated[tuple[str, str] | None, arg(
                metavar="A B", help_behavior_hint="")] = None, frames: int = 9,
                label: Annotated[str, arg(metavar="LABEL", help_behavior_hint="")] = "",
                sampling: Drawn = AS_USUAL, fitting: Fitting = AS_FITS, out: Picture = Path("interpolate.png"), gif: File = None,
                device: Device = "auto", threads: Threads = None) -> None:
    """Go from one image to another: between two seeds, or between two images of yours, which are inverted first.

    By ddim; between seeds --sampler may name another without noise on the way.

    Example: nanoldm interpolate mnist-fast --seeds 3,7 --frames 9

    Between images: nanoldm interpolate mnist-fast --images a.png b.png --gif way.gif

    Args:
        seeds: Two seeds, such as 3,7; the ends are the images that sample --sampler ddim (with --label none, or this label) draws.
        images: Two image files, or such as test:3, instead of seeds.
        frames: How many images, both ends included.
        label: Class of all frames, for models that know labels, such as 7 or cat (default: none).
        out: The frames, as a picture.
        gif: Also write them as an animation, there and back.
    """
    if (seeds is None) == (images is None):
        raise InputError("an interpolation needs two ends: give either --seeds 3,7 or --images A.png B.png")
    from nanoldm.cli import retouch
    from nanoldm.pipeline.labels import labels_of
    from nanoldm.utils.device import prepare_torch
    numbers, labels = None if seeds is None else parse_seeds(None, None, seeds), labels_of(model, label) or [-1]
    if len(labels) > 1:
        raise InputError(f"--label {label}: an interpolation stays within one class")
    retouch.interpolate(model, numbers, fitting.given(*images or ()), frames, labels[0], sampling.settings(model), out, gif,
                        prepare_torch(device, threads))


def invert(model: Model, image: Input, *, iterations: int = 3, sampling: Drawn = AS_USUAL, fitting: Fitting = AS_FITS,
           out: Picture = Path("invert.png"), npz: File = None, device: Device = "auto", threads: Threads = None) -> None:
    """Find the noise x_T from which deterministic sampling leads back to an image, and say how exactly it does.

    By steps of ddim, both ways.

    Example: nanoldm invert mnist-fast test:0-15 --steps 50 --npz noise.npz

    Args:
        iterations: Network passes in each step of the inversion. 1 is quicker and less exact; many more than 3 do not help.
        out: Input, reconstruction, and what came back, as a picture.
        npz: Write the noise itself: array `x_T`, float (N, tokens, channels), and `images`, what came back.
    """
    from nanoldm.cli import retouch
    from nanoldm.utils.device import prepare_torch
    retouch.invert(model, fitting.given(image), iterations, sampling.settings(model), out, npz, prepare_torch(device, threads))


def vary(model: Model, image: Input, *, strength: float = 0.15, n: int = 8, seed: int = 0, label: Towards = "",
         sampling: Drawn = AS_USUAL, fitting: Fitting = AS_FITS, out: Picture = Path("vary.png"), device: Device = "auto",
         threads: Threads = None) -> None:
    """Draw variations of an image: its x_T is turned a little towards the noise of each seed.

    Unlike img2img, which keeps coarse shapes and redraws details, all features change together, and continuously with --strength. By
    steps of ddim, both ways.

    Example: nanoldm vary mnist-fast test:0 --strength 0.15 --n 8

    Args:
        strength: From 0, the image itself, to 1, the image of the seed; from about 0.3 on many become other digits.
        n: How many variations.
        seed: Of the first variation; the next ones count up.
        out: Input, reconstruction and variations, as a picture.
    """
    numbers = parse_seeds(n, seed, None)
    from nanoldm.cli import retouch
    from nanoldm.pipeline.labels import labels_of
    from nanoldm.utils.device import prepare_torch
    retouch.vary(model, fitting.given(image), strength, numbers, labels_of(model, label), sampling.settings(model), out,
                 prepare_torch(device, threads))
