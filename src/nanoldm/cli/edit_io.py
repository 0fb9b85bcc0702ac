"""What the editing commands share: options, reading images, writing results."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from nanoldm.cli.options import Flag, LabelText, ModelMachine, SamplingOptions
from nanoldm.cli.sample import save_rows
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import check_apart, check_target, user_path
from nanoldm.utils.ranges import parse_numbers, seed_range

if TYPE_CHECKING:
    from torch import Tensor

    from nanoldm.data import ImageSet
    from nanoldm.editing import Edited
    from nanoldm.editing.photo import Fitted
    from nanoldm.pipeline.latent_diffusion import LatentDiffusion

EXAMPLES = 16
IMAGE = arg(metavar="IMAGE", help="An image file: it is fitted to the model's size, channels and "
            "polarity. Or test:3, an image of the model's own test set.")
ImageName = Positional[Annotated[str, IMAGE]]


@dataclass(frozen=True, kw_only=True)
class ResultSeeds:
    """Seeds of several results of one image."""

    # How many results.
    n: int = 8
    # Seed of the first result; the next results count up.
    seed: int = 0
    # Class of the results, for models with classes: its number or name, or several in turn, such as
    # 0-9 or cat,dog (default: none).
    label: LabelText = ""

    def seeds(self) -> list[int]:
        return list(seed_range(self.n, self.seed))

    def labels(self, model: str) -> list[int] | int:
        """A label per result; -1 (none) if the option was not given."""
        from nanoldm.pipeline.labels import in_turn, labels_of

        return in_turn(labels_of(model, self.label), self.n) or -1


@dataclass(frozen=True, kw_only=True)
class EditOptions(SamplingOptions, ModelMachine):
    """What every edit needs: a model, image files that are fitted to it, and a picture."""

    # Choose the polarity and, for models of strokes, cut out and centre the ink; --no-fit only
    # crops to a centred square and resizes.
    fit: bool = True
    # Use the other polarity than the one that was chosen.
    invert: Flag = False

    def begin(self, model: str, names: Sequence[str], outputs: Sequence[Path | None],
              inputs: Sequence[Path] = ()) -> "Given":
        """Check all files, load the model, and read and fit the images.

        outputs: files that the command writes; the first is the picture of the results.
        inputs: files that it reads besides the images. Raises InputError.
        """
        from nanoldm.editing.photo import fit_image, open_visible
        from nanoldm.pipeline.own_images import own_test_set
        from nanoldm.utils.images import FORMATS

        check_target(outputs[0], *FORMATS)
        photos = {name: user_path(name) for name in names if not name.startswith("test:")}
        check_apart(*outputs)
        for output, file in itertools.product(outputs, [*photos.values(), *inputs]):
            check_apart(output, file)
        loaded = self.load(model)
        for file in photos.values():  # before the model generates images to compare with
            open_visible(file)
        examples = cache(lambda: example_images(loaded))
        test_set = cache(lambda: own_test_set(model))
        hint = " (--no-fit and --invert change this)" if self.fit and not self.invert else ""
        images, fitted = [], None
        for name in names:
            if name in photos:
                fitted = fit_image(photos[name], examples(), fit=self.fit, invert=self.invert)
                print(fitted.done + hint)
                images.append(fitted.image)
            else:
                images.append(test_images(test_set(), name))
        return Given(loaded, images, fitted)


@dataclass(frozen=True)
class Given:
    """A loaded model, the images of a command (1 or more, C, S, S), and how the last was fitted.

    fitted: None if it is a test image.
    """

    model: "LatentDiffusion"
    images: "list[Tensor]"
    fitted: "Fitted | None"


def example_images(model: "LatentDiffusion") -> "Tensor":
    """Some images of a model, which show its polarity and its margins."""
    from nanoldm.pipeline.settings import quick_settings

    settings = model.settings_for(quick_settings(model.denoiser.schedule))
    return model.generate(EXAMPLES, -1, settings=settings)


def test_images(tests: "ImageSet", name: str) -> "Tensor":
    """ "test:3", "test:0-15": images of a test set, (N, C, S, S) in [0, 1]."""
    from nanoldm.utils.images import to_float

    text = name.removeprefix("test:")
    numbers = parse_numbers("test image", text, "test:3 or test:0-15")
    if max(numbers) >= len(tests):
        raise InputError(f"{name}: the model has test images 0 to {len(tests) - 1}")
    return to_float(tests.images[numbers])


def finish(edited: "Edited", out: Path) -> None:
    """Print the errors and write the picture: single images side by side, longer rows stacked."""
    from nanoldm.utils.images import captioned, grid, save

    print("mean squared differences, pixels from 0 to 1:")
    for name, value in edited.errors.items():
        print(f"  {name}: {value:.3g}")
    if any(len(part) == 1 for part in edited.shown.values()):
        parts = [(caption, grid(part, -(-len(part) // math.isqrt(len(part)))))
                 for caption, part in edited.shown.items()]
        save(captioned(parts, across=True), out)
    else:
        save_rows(edited.shown, out)
    print(f"wrote {out}: {len(edited.images)} image{'s' * (len(edited.images) > 1)}")
