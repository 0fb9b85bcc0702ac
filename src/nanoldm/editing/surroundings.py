"""The surroundings of handwriting in a picture (desk, scanner edge, printed box), and its polarity.

Pictures are grey (H, W) in [0, 1]. Otsu's threshold separates two tones; a sheet is a connected
rectangle of one tone with strokes of the other on it. `benchmarks/photos.py` measures how often
this is right.
"""

import numpy as np
from scipy import ndimage

from nanoldm.editing.ink import otsu

SHEET = 0.15  # of the picture: a smaller part is no sheet
RECTANGLE = 0.86  # of its smallest rotated bounding box: an ellipse, such as a 0, fills 0.785
INKED = 0.003  # of a sheet: with less ink it is a part of the handwriting
SHARP = 0.5  # of the difference between the tones: the edge of a shadow is softer
SMALL = 0.002  # of the picture: smaller parts are grain
ROUNDS = 3  # a box on a sheet on a desk
ALL_NEIGHBOURS = np.ones((3, 3))

Found = tuple[np.ndarray, str] | None  # mask of a smaller region, what surrounds it


def find_sheet(grey: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(mask of the part of a picture with the handwriting, what surrounds it)."""
    grey = ndimage.gaussian_filter(grey, 1)
    region, found = whole(grey), []
    for _ in range(ROUNDS):
        level = otsu(grey[region])
        # A desk and paper partly in a shadow have three tones, so try a second threshold as well.
        parts = [region, region & (grey < level), region & (grey > level)]
        steps = (peel(grey, region, otsu(grey[part])) for part in parts if part.any())
        step = next((step for step in steps if step), None)
        if step is None:
            break
        region, what = step
        found.append(what)
    return region, found


def peel(grey: np.ndarray, region: np.ndarray, level: float) -> Found:
    """A smaller region, if the tones at this level show more than handwriting on its paper."""
    dark = grey < level
    ring = dark[ring_of(region)].mean() > 0.5  # whether the outermost ring is dark
    return sheet_inside(grey, region, dark, ring) or box_or_edge(grey, region, dark, ring)


def sheet_inside(grey: np.ndarray, region: np.ndarray, dark: np.ndarray, ring: bool) -> Found:
    """A sheet of the other tone than the ring, such as paper on a desk."""
    sheet = largest(region & ~touching(region & (dark == ring), ring_of(region)))
    paper, ink = sheet & (dark != ring), sheet & (dark == ring)
    if (SHEET * region.sum() < sheet.sum() < 0.98 * region.sum()
            and INKED * sheet.sum() < ink.sum() < 0.5 * sheet.sum()
            and is_rectangle(sheet) and half_width(paper) > half_width(ink)
            and not all_holes(ink) and is_sharp(grey, sheet, region, dark)):
        return ndimage.binary_erosion(sheet, iterations=2), "a frame"
    return None


def box_or_edge(grey: np.ndarray, region: np.ndarray, dark: np.ndarray, ring: bool) -> Found:
    """The inside of a printed box, or the region without a dark edge of a scan."""
    labels, count = ndimage.label(region & (dark != ring), ALL_NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    for number in range(1, count + 1):
        if sizes[number] < SMALL * region.sum():
            continue
        part, others = labels == number, (labels > 0) & (labels != number)
        outline = ndimage.binary_fill_holes(part)
        hollow = outline.sum() > max(2 * sizes[number], SHEET * region.sum())
        inked = (others & outline).sum() > INKED * outline.sum()
        if hollow and inked and is_rectangle(outline):
            inside = ndimage.binary_fill_holes(largest(outline & ~part))
            return ndimage.binary_erosion(inside, iterations=2), "a box"
        ink = others & ~touching(others, ring_of(region))
        inked = ink.sum() > INKED * region.sum()
        if lies_along(part, region) and inked and is_sharp(grey, part, region, dark):
            return region & ~ndimage.binary_dilation(part, iterations=2), "an edge"
    return None


def paper_is_light(grey: np.ndarray) -> bool:
    """Whether a picture shows dark strokes on light paper.

    With a sharp boundary between the tones the outermost ring and the corners decide, because
    strokes may reach the border. Otherwise the light is uneven, and the outermost tenth decides.
    """
    grey = ndimage.gaussian_filter(grey, 1)
    dark = grey < otsu(grey)
    if dark.any() and not dark.all() and is_sharp(grey, dark, whole(grey), dark):
        corners = dark[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
        return bool(dark[ring_of(whole(grey))].mean() + corners / 2 < 0.75)
    rows, columns = (max(1, side // 10) for side in grey.shape)
    parts = grey[:rows], grey[-rows:], grey[:, :columns], grey[:, -columns:]
    return bool(np.median(np.concatenate([part.ravel() for part in parts])) > 0.5)


def reaches_border(grey: np.ndarray) -> bool:
    """Whether light strokes on dark reach the border, as in a picture cropped to them."""
    grey = ndimage.gaussian_filter(grey, 1)
    light = grey >= otsu(grey)
    at_border = light[ring_of(whole(grey))].mean() > 0.02
    return bool(at_border and is_sharp(grey, light, whole(grey), ~light))


def filled(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Replace the pixels outside of `region` by the nearest ones inside."""
    nearest = ndimage.distance_transform_edt(~region, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def whole(grey: np.ndarray) -> np.ndarray:
    return np.ones(grey.shape, dtype=bool)


def ring_of(region: np.ndarray) -> np.ndarray:
    """The outermost pixels of a region."""
    return region & ~ndimage.binary_erosion(region)


def all_holes(ink: np.ndarray) -> bool:
    """Whether ink on a sheet is only the holes of a bold 0 or 8: compact parts, no lines."""
    labels, _ = ndimage.label(ink, ALL_NEIGHBOURS)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        part = labels[place] == number
        line = part.mean() < 0.7 or max(part.shape) > 3 * min(part.shape)
        if line and part.sum() > 0.05 * ink.sum():
            return False
    return True


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask


def touching(mask: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that touch a ring."""
    return ndimage.binary_propagation(ring & mask, ALL_NEIGHBOURS, mask=mask)


def half_width(mask: np.ndarray) -> float:
    """Half the width of a mask at its widest place, in pixels."""
    return ndimage.distance_transform_edt(np.pad(mask, 1)).max()


def is_rectangle(mask: np.ndarray) -> bool:
    """Whether a mask nearly fills a rectangle, which may be rotated."""
    y, x = np.nonzero(ring_of(mask))
    turns = np.radians(np.arange(-45, 45, 3))
    boxes = [(np.ptp(x * cos + y * sin) + 1) * (np.ptp(y * cos - x * sin) + 1)
             for cos, sin in zip(np.cos(turns), np.sin(turns), strict=True)]
    return mask.sum() > RECTANGLE * min(boxes)


def is_sharp(grey: np.ndarray, part: np.ndarray, region: np.ndarray, dark: np.ndarray) -> bool:
    """Whether the boundary of a part is an edge between tones, not the soft edge of a shadow."""
    interior = ndimage.binary_erosion(region, iterations=3)
    boundary = part & ~ndimage.binary_erosion(part, border_value=1) & interior
    if not boundary.any():
        return True
    steps = ndimage.maximum_filter(grey, 7) - ndimage.minimum_filter(grey, 7)
    difference = grey[region & ~dark].mean() - grey[region & dark].mean()
    return bool(np.quantile(steps[boundary], 0.2) > SHARP * difference)


def lies_along(part: np.ndarray, region: np.ndarray) -> bool:
    """Whether a part covers more than half of one side of a region."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    inside = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return max(side.mean() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1])) > 0.5
