"""Commands that edit an image: img2img, inpaint, interpolate, invert, vary."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from nanoldm.cli.edit_io import EditOptions, ImageName, ResultSeeds, finish
from nanoldm.cli.options import File, LabelText, ModelName, Picture, Text, command
from nanoldm.cli.sample import choose
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import check_target, user_path
from nanoldm.utils.ranges import parse_numbers, seed_list

if TYPE_CHECKING:
    from nanoldm.editing import Edited


@command
class Img2img(ResultSeeds, EditOptions):
    """Noise an image to timestep t and denoise it (SDEdit).

    Coarse shapes stay, details are generated.

    Example: nanoldm img2img mnist-fast photo.png --t 50 --n 8
    """

    model: ModelName
    image: ImageName
    # Timestep to noise to: 0 keeps nearly all of the image, the last timestep nothing.
    t: int = 50
    # Input, reconstruction, noised image and results, as a picture.
    out: Picture = Path("img2img.png")

    def run(self) -> None:
        from nanoldm.editing import img2img

        seeds, labels = self.seeds(), self.labels(self.model)
        given = self.begin(self.model, [self.image], [self.out])
        settings = choose(given.model, self.changes(), self.t)
        options = dict(settings=settings, progress=True)
        finish(img2img(given.model, *given.images, self.t, seeds, labels, **options), self.out)


@command
class Inpaint(ResultSeeds, EditOptions):
    """Generate a part of an image so that it fits the rest, which stays bit for bit.

    Default settings: 20 steps of ddpm-repaint, shifted (ddim for rectified flows).

    Example: nanoldm inpaint mnist-fast test:0 --mask right
    """

    model: ModelName
    image: ImageName
    # An image file, white where pixels are generated; or left, right, top or bottom for that half.
    # A mask of the shape of the image file is cropped like the image; others are resized to it.
    mask: Annotated[str, arg(metavar="MASK")]
    # Input, mask and results, as a picture.
    out: Picture = Path("inpaint.png")

    def run(self) -> None:
        from nanoldm.editing import inpaint
        from nanoldm.editing.masks import HALVES, fit_mask, read_mask

        seeds, labels = self.seeds(), self.labels(self.model)
        if self.mask not in HALVES:
            read_mask(self.mask)  # fails before the model is loaded
        given = self.begin(self.model, [self.image], [self.out], [user_path(self.mask)])
        mask, done = fit_mask(self.mask, given.images[0].shape[-1], given.fitted)
        print(done)
        options = dict(progress=True, **self.changes())
        finish(inpaint(given.model, *given.images, mask, seeds, labels, **options), self.out)


@command
class Interpolate(EditOptions):
    """Generate the images between two seeds or two images.

    Images are inverted first. Default settings: all timesteps of ddim. Between seeds --sampler can
    choose another deterministic sampler.

    Example: nanoldm interpolate mnist-fast --seeds 3,7 --frames 9

    Between images: nanoldm interpolate mnist-fast --images a.png b.png --gif path.gif
    """

    model: ModelName = DEFAULT_MODEL
    # Two seeds, such as 3,7.
    seeds: Text = None
    # Two image files, or such as test:3, instead of seeds.
    images: Annotated[tuple[str, str] | None, arg(metavar="A B", help_behavior_hint="")] = None
    # How many images, both ends included.
    frames: int = 9
    # Class of all frames, for models with classes, such as 7 or cat (default: none).
    label: LabelText = ""
    # The frames, as a picture.
    out: Picture = Path("interpolate.png")
    # Also write the frames as an animation, there and back.
    gif: File = None

    def run(self) -> None:
        import torch

        from nanoldm.editing import interpolate
        from nanoldm.pipeline.labels import labels_of

        if (self.seeds is None) == (self.images is None):
            raise InputError("an interpolation needs two ends: give either --seeds 3,7 or --images "
                             "A.png B.png")
        seeds = self.seeds and seed_list(parse_numbers("seeds", self.seeds, "3,7"))
        labels = labels_of(self.model, self.label) or [-1]
        if len(labels) > 1:
            raise InputError(f"label {self.label}: give one class for all frames")
        if self.gif:
            check_target(self.gif, ".gif")
        given = self.begin(self.model, self.images or (), [self.out, self.gif])
        ends = seeds or torch.cat(given.images)
        options = dict(progress=True, **self.changes())
        edited = interpolate(given.model, ends, self.frames, labels[0], **options)
        finish(edited, self.out)
        if self.gif:
            self.write_gif(edited)

    def write_gif(self, edited: "Edited") -> None:
        from nanoldm.utils.images import grid, save_gif

        there = [grid(image[None]) for image in edited.images]
        save_gif(there + there[-2::-1], self.gif, milliseconds=100, hold=500)
        print(f"wrote {self.gif}: {self.frames} frames, there and back")


@command
class Invert(EditOptions):
    """Find the noise x_T from which deterministic sampling returns to an image.

    Default settings: all timesteps of ddim. The errors measure how exact the inversion is.

    Example: nanoldm invert mnist-fast test:0-15 --steps 50 --npz noise.npz
    """

    model: ModelName
    image: ImageName
    # Network evaluations per step of the inversion. 1 is faster and less exact; more than 3 rarely
    # help.
    iterations: int = 3
    # Input, reconstruction, and the images generated from x_T, as a picture.
    out: Picture = Path("invert.png")
    # Also write arrays: `x_T`, float (N, tokens, channels), and `images`, generated from it.
    npz: File = None

    def run(self) -> None:
        from nanoldm.data.npz import save_npz
        from nanoldm.editing import invert

        if self.npz:
            check_target(self.npz, ".npz")
        given = self.begin(self.model, [self.image], [self.out, self.npz])
        options = dict(progress=True, **self.changes())
        x_T, edited = invert(given.model, *given.images, self.iterations, **options)
        finish(edited, self.out)
        if self.npz:
            save_npz(self.npz, edited.images, x_T=x_T.cpu().numpy())
            print(f"wrote {self.npz}: x_T {tuple(x_T.shape)}, and `images` generated from it")


@command
class Vary(ResultSeeds, EditOptions):
    """Generate variations of an image.

    Its x_T moves a little towards the noise of each seed. img2img keeps coarse shapes and generates
    details; here all features change together, and continuously with --strength. Default settings:
    all timesteps of ddim.

    Example: nanoldm vary mnist-fast test:0 --strength 0.15 --n 8
    """

    model: ModelName
    image: ImageName
    # From 0, the image itself, to 1, the image of the seed; above 0.3 many become other digits.
    strength: float = 0.15
    # Input, reconstruction and variations, as a picture.
    out: Picture = Path("vary.png")

    def run(self) -> None:
        from nanoldm.editing import vary

        seeds, labels = self.seeds(), self.labels(self.model)
        given = self.begin(self.model, [self.image], [self.out])
        options: dict[str, Any] = dict(progress=True, **self.changes())
        edited = vary(given.model, *given.images, self.strength, seeds, labels, **options)
        finish(edited, self.out)
