"""How often a picture of a digit becomes that digit: `fit_image` on synthetic photos and scans.

    python benchmarks/photos.py [DIGITS] [SHEET.png]

Prints for each kind of picture the accuracy of the classifier of digits-v1, which was trained on
MNIST only. SHEET: ten pictures of each kind, and below them the fitted images.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from nanoldm.data import load
from nanoldm.editing.photo import fit_image
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import extract
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import captioned, grid, save, to_float

Pixels = np.ndarray  # (H, W), grey from 0 to 255
Random = np.random.Generator


def enlarged(digit: Tensor, side: int, bold: int = 0) -> Pixels:
    """Ink in [0, 1]; bold: by how many pixels its strokes grow on either side."""
    image = Image.fromarray(digit[0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
    for _ in range(bold):
        image = image.filter(ImageFilter.MaxFilter(3))
    return np.asarray(image) / 255


def placed(ink: Pixels, size: tuple[int, int], at: tuple[int, int]) -> Pixels:
    sheet = np.zeros(size)
    sheet[at[0] : at[0] + ink.shape[0], at[1] : at[1] + ink.shape[1]] = ink
    return sheet


def paper(digit: Tensor, random: Random, size: tuple[int, int] = (300, 260),
          uneven: bool = False) -> Pixels:
    """Dark ink somewhere on light paper, evenly lit or from one side."""
    ink = placed(enlarged(digit, 180), size,
                 (random.integers(0, size[0] - 180), random.integers(0, size[1] - 180)))
    y, x = np.mgrid[: size[0], : size[1]]
    return (100 + 130 * (0.6 * x / size[1] + 0.4 * y / size[0]) if uneven else 225) * (
        1 - 0.75 * ink
    )


def board(digit: Tensor, random: Random) -> Pixels:
    """Light chalk on a dark board."""
    return 40 + 170 * placed(enlarged(digit, 180), (300, 260),
                             (random.integers(0, 120), random.integers(0, 80)))


def cropped(digit: Tensor, bold: int = 0, margin: int = 0, side: int = 200) -> Pixels:
    """Ink in [0, 1], cropped to its bounding box."""
    ink = enlarged(digit, side, bold)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis)) for axis in (1, 0))
    return ink[max(0, rows[0] - margin) : rows[-1] + 1 + margin,
               max(0, columns[0] - margin) : columns[-1] + 1 + margin]


def framed(inner: Pixels, tone: float, top: int, bottom: int, left: int, right: int) -> Pixels:
    return np.pad(inner, ((top, bottom), (left, right)), constant_values=tone)


def boxed(page: Pixels, margin: int, width: int, tone: float = 60) -> Pixels:
    """With the lines of a printed box at a distance of `margin` from the border."""
    lines = np.zeros(page.shape, dtype=bool)
    lines[margin : page.shape[0] - margin, margin : page.shape[1] - margin] = True
    lines[margin + width : page.shape[0] - margin - width,
          margin + width : page.shape[1] - margin - width] = False
    return np.where(lines, tone, page)


def shadowed(page: Pixels, random: Random) -> Pixels:
    """Half of it in a shadow with a soft edge."""
    y, x = np.mgrid[: page.shape[0], : page.shape[1]]
    turn = random.uniform(0, 2 * np.pi)
    distance = (x - page.shape[1] / 2) * np.cos(turn) + (y - page.shape[0] / 2) * np.sin(turn)
    return page * (0.45 + 0.55 / (1 + np.exp(-distance / 12)))


def turned(page: Pixels, random: Random, tone: int) -> Pixels:
    image = Image.fromarray(page.clip(0, 255).astype(np.uint8))
    return np.asarray(image.rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True,
                                   fillcolor=tone), float)


def block(digit: Tensor, random: Random) -> Pixels:
    """Dark ink as bold as a poster's, on light paper."""
    return 225 * (1 - 0.75
                  * placed(enlarged(digit, 120, 6), (240, 240),
                           (random.integers(20, 100), random.integers(20, 100))))


def widths(random: Random, low: int = 10, high: int = 60) -> list[int]:
    return random.integers(low, high, 4).tolist()


SCENES: dict[str, Callable[[Tensor, Random], Pixels]] = {
    "paper, evenly lit": paper, "paper, lit from one side": lambda digit,
    random: paper(digit, random, uneven=True), "paper, half in shadow": lambda digit,
    random: shadowed(paper(digit, random), random), "blackboard": board,
    "enlarged MNIST": lambda digit, _: 255 * enlarged(digit, 112),
    "enlarged MNIST, inverted": lambda digit, _: 255 - 255 * enlarged(digit, 112),
    "dark desk around": lambda digit, random: framed(paper(digit, random), 45, *widths(random)),
    "dark desk, lit from one side": lambda digit,
    random: framed(paper(digit, random, uneven=True), 45, *widths(random)),
    "dark desk, half in shadow": lambda digit,
    random: shadowed(framed(paper(digit, random), 30, *widths(random)), random),
    "dark desk, turned": lambda digit,
    random: turned(framed(paper(digit, random, (260, 260)), 40, 20, 20, 20, 20), random, 40),
    "wooden desk around": lambda digit, random: framed(paper(digit, random), 140, *widths(random)),
    "white frame around a board": lambda digit,
    random: framed(board(digit, random), 230, *widths(random, 8, 40)),
    "scanner edge on one side": lambda digit,
    random: framed(paper(digit, random), 20, 0, 0, random.integers(8, 30), 0),
    "scanner edge on two sides": lambda digit,
    random: framed(paper(digit, random), 20, random.integers(8, 30), 0, 0, 14),
    "printed box": lambda digit,
    random: boxed(framed(paper(digit, random, (240, 240)), 225, 30, 30, 30, 30), 20, 4),
    "printed box at the border": lambda digit,
    random: boxed(paper(digit, random, (240, 240)), 0, 5),
    "printed box and scanner edge": lambda digit,
    random: framed(boxed(paper(digit, random, (240, 240)), 14, 3), 20, 10, 0, 0, 14),
    "cropped to the ink": lambda digit, _: 225 * (1 - 0.8 * cropped(digit)),
    "cropped to the ink but 4 pixels": lambda digit, _: 225 * (1 - 0.8 * cropped(digit, margin=4)),
    "cropped, bold": lambda digit, _: 225 * (1 - 0.8 * cropped(digit, bold=5)),
    "cropped, very bold": lambda digit, _: 225 * (1 - 0.8 * cropped(digit, bold=12)),
    "cropped, very bold, light on dark": lambda digit, _: 20 + 210 * cropped(digit, bold=12),
    "bold block letters": lambda digit, random: block(digit, random),
    "cropped, 20 pixels": lambda digit, _: 255 * (1 - cropped(digit, side=28))
}


def picture(name: str, digit: Tensor, number: int) -> Image.Image:
    """With a grain of five grey levels, random by `number`."""
    random = np.random.default_rng(number)
    pixels = SCENES[name](digit, random)
    grainy = pixels + random.normal(0, 5, pixels.shape)
    return Image.fromarray(grainy.clip(0, 255).round().astype(np.uint8))


def main(count: int = 100, sheet: str | None = None) -> None:
    test = load("mnist")[1]
    examples, network = (to_float(test.images[-16:]),
                         load_features("digits-v1").networks["classifier"])
    shares, parts = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        for name in SCENES:
            fitted, before = [], []
            for number, digit in enumerate(test.images[:count]):
                image = picture(name, digit, number)
                image.save(file)
                before.append(to_float(torch.from_numpy(np.array(image.resize((84, 84)))))[None])
                try:
                    fitted.append(fit_image(file, examples).image)
                except InputError:  # no ink found
                    fitted.append(torch.zeros(1, 1, 28, 28))
            right = extract(network, torch.cat(fitted))[1].argmax(1) == test.labels[:count]
            shares.append(right.float().mean().item())
            parts += [(name, grid(torch.stack(before[:10]), 10)),
                      ("", grid(torch.cat(fitted[:10]), 10))]
            print(f"{name:<36} {shares[-1]:.0%}", flush=True)
    print(f"{'mean':<36} {sum(shares) / len(shares):.1%}")
    if sheet:
        save(captioned(parts), Path(sheet))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, sys.argv[2] if len(sys.argv) > 2 else None)
