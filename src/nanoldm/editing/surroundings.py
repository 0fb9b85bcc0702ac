"""What surrounds a drawing in a picture - a desk, a scanner's edge, a printed box - and the tone of its paper.

Pictures are grey (H, W) in [0, 1]. Two tones are told apart by Otsu's threshold, and parts by how they hang together: a sheet is a
rectangle of one tone with strokes of the other on it. `benchmarks/photos.py` measures how often this is right.
"""

import numpy as np
from scipy import ndimage

from nanoldm.editing.ink import otsu

SHEET = 0.15            # of the picture: a smaller part is no sheet
RECTANGLE = 0.86        # of its narrowest turned bounding box: an ellipse, such as a 0, fills 0.785
INKED = 0.003           # of a sheet: with less on it, it is a part of the drawing itself
SHARP = 0.5             # of the difference between the tones: what fades more slowly is a shadow
SMALL = 0.002           # of the picture: smaller parts are grain
ROUNDS = 3              # a box on a sheet on a desk
ALL_NEIGHBOURS = np.ones((3, 3))


def find_drawing(grey: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(mask of the part of a picture in which the drawing is, what was found around it)."""
    grey = ndimage.gaussian_filter(grey, 1)
    region, found = np.ones(grey.shape, dtype=bool), []
    for _ in range(ROUNDS):
        level = otsu(grey[region])
        # A desk, paper in a shadow and paper in the light are three tones: then a second threshold parts one of two.
        parts = [region, region & (grey < level), region & (grey > level)]
        steps = (peel(grey, region, otsu(grey[part])) for part in parts if part.any())
        step = next((step for step in steps if step), None)
        if step is None:
            break
        region, what = step
        found.append(what)
    return region, found


def peel(grey: np.ndarray, region: np.ndarray, level: float) -> tuple[np.ndarray, str] | None:
    """(a smaller region, what was around it), if the region, parted at that level, is more than a drawing on its paper."""
    dark = grey < level
    ring = region & ~ndimage.binary_erosion(region)
    tone = dark[ring].mean() > 0.5                              # of the outermost ring
    sheet = largest(region & ~touching(region & (dark == tone), ring))
    paper, ink = sheet & (dark != tone), sheet & (dark == tone)
    if (SHEET * region.sum() < sheet.sum() < 0.98 * region.sum() and INKED * sheet.sum() < ink.sum() < 0.5 * sheet.sum()
            and rectangular(sheet) and width(paper) > width(ink) and not all_holes(ink) and sharp(grey, sheet, region, dark)):
        return ndimage.binary_erosion(sheet, iterations=2), "a frame"
    labels, count = ndimage.label(region & (dark != tone), ALL_NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    for number in range(1, count + 1):
        if sizes[number] < SMALL * region.sum():
            continue
        part, others = labels == number, (labels > 0) & (labels != number)
        whole = ndimage.binary_fill_holes(part)
        if (whole.sum() > max(2 * sizes[number], SHEET * region.sum()) and (others & whole).sum() > INKED * whole.sum()
                and rectangular(whole)):
            inside = ndimage.binary_fill_holes(largest(whole & ~part))
            return ndimage.binary_erosion(inside, iterations=2), "a box"
        if (lies_along(part, region) and (others & ~touching(others, ring)).sum() > INKED * region.sum()
                and sharp(grey, part, region, dark)):
            return region & ~ndimage.binary_dilation(part, iterations=2), "an edge"
    return None


def paper_is_light(grey: np.ndarray) -> bool:
    """Whether a picture shows dark strokes on light paper. Where the tones meet in edges, the outermost ring and the corners tell, since
    strokes may reach the border; where they fade into each other, the light is uneven, and the outermost tenth tells."""
    grey = ndimage.gaussian_filter(grey, 1)
    dark, whole = grey < otsu(grey), np.ones(grey.shape, dtype=bool)
    if dark.any() and not dark.all() and sharp(grey, dark, whole, dark):
        corners = dark[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
        return bool(dark[whole & ~ndimage.binary_erosion(whole)].mean() + corners / 2 < 0.75)
    height, width = (max(1, side // 10) for side in grey.shape)
    parts = grey[:height], grey[-height:], grey[:, :width], grey[:, -width:]
    return bool(np.median(np.concatenate([part.ravel() for part in parts])) > 0.5)


def reaches_border(grey: np.ndarray) -> bool:
    """Whether light strokes on dark reach the border, as in a picture that was cropped to them."""
    grey = ndimage.gaussian_filter(grey, 1)
    light, whole = grey >= otsu(grey), np.ones(grey.shape, dtype=bool)
    ring = whole & ~ndimage.binary_erosion(whole)
    return bool(light[ring].mean() > 0.02 and sharp(grey, light, whole, ~light))


def filled(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Pixels of which those outside `region` are replaced by the nearest ones inside."""
    return pixels[tuple(ndimage.distance_transform_edt(~region, return_distances=False, return_indices=True))]


def all_holes(ink: np.ndarray) -> bool:
    """Whether what seems to be ink on a sheet are but the holes of a bold 0 or 8: parts that fill their bounding box and are no lines."""
    labels, _ = ndimage.label(ink, ALL_NEIGHBOURS)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        part = labels[place] == number
        if part.sum() > 0.05 * ink.sum() and (part.mean() < 0.7 or max(part.shape) > 3 * min(part.shape)):
            return False
    return True


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest part of a mask that hangs together."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask


def touching(mask: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The parts of a mask that touch a ring."""
    labels, _ = ndimage.label(mask, ALL_NEIGHBOURS)
    return mask & np.isin(labels, np.unique(labels[ring & mask]))


def width(mask: np.ndarray) -> float:
    """Half the width of a mask at its widest place, in pixels."""
    return ndimage.distance_transform_edt(np.pad(mask, 1)).max()


def rectangular(mask: np.ndarray) -> bool:
    """Whether a mask nearly fills a rectangle, however it is turned."""
    y, x = np.nonzero(mask & ~ndimage.binary_erosion(mask))
    boxes = [(np.ptp(x * cos + y * sin) + 1) * (np.ptp(y * cos - x * sin) + 1)
             for cos, sin in ((np.cos(turn), np.sin(turn)) for turn in np.radians(np.arange(-45, 45, 3)))]
    return mask.sum() > RECTANGLE * min(boxes)


def sharp(grey: np.ndarray, part: np.ndarray, region: np.ndarray, dark: np.ndarray) -> bool:
    """Whether the boundary of a part is an edge between the tones, and not a shadow that fades. part, region, dark: masks (H, W)."""
    boundary = part & ~ndimage.binary_erosion(part, border_value=1) & ndimage.binary_erosion(region, iterations=3)
    if not boundary.any():
        return True
    steps = ndimage.maximum_filter(grey, 7) - ndimage.minimum_filter(grey, 7)
    return bool(np.quantile(steps[boundary], 0.2) > SHARP * (grey[region & ~dark].mean() - grey[region & dark].mean()))


def lies_along(part: np.ndarray, region: np.ndarray) -> bool:
    """Whether a part takes more than half of one side of a region."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    inside = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return max(side.mean() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1])) > 0.5
