"""Labels of a model: their names, labels that users give by name or number, random labels."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.pipeline.folders import INDEX, find_model
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, refusing
from nanoldm.utils.limits import LARGEST_SEED, within
from nanoldm.utils.ranges import parse_numbers
from nanoldm.utils.text import is_number, listing

Labels = int | str | Sequence[int | str] | Tensor | None  # one for all images, or one for each


def read_class_names(folder: Path) -> dict[int, str]:
    """{number: name} of the classes of the model in `folder`, from `id2label` in model_index.json.

    {} if the classes have no names. Raises InputError that names the file if it is damaged.
    """
    with refusing(folder / INDEX):
        stored = read_json(folder / INDEX).get("id2label", {})
        names = {int(number): name for number, name in stored.items()}
        if not all(number >= 0 and isinstance(name, str) for number, name in names.items()):
            raise ValueError("id2label must name classes from 0 on")
    return names


def labels_of(model: str | Path, text: str) -> list[int] | None:
    """The label option of a command -> classes of `model`.

    "cat", "7", "0-9" and "3,5" are classes, "none" is [-1], and "" (not given) is None.
    Raises InputError for a class that does not exist.
    """
    if not text:
        return None
    if text.lower() == "none":
        return [-1]
    return parse_labels(text, read_class_names(find_model(model)))


def parse_labels(text: str, names: Mapping[int, str]) -> list[int]:
    """Like `labels_of`, for classes with these names."""
    if text in names.values():  # a name may contain a comma or a dash
        return [class_number(text, names)]
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,19})\s*-\s*([0-9]{1,19})\s*", part)
        if names and (not ends or part.strip() in names.values()):
            found.append(class_number(part.strip(), names))
            continue
        numbers = parse_numbers("label", part, "7, 0-9 or 3,5, or none")
        found += [class_number(str(number), names) for number in numbers] if names else numbers
    within("label", max(found), 0, LARGEST_SEED)
    return found


def class_number(name: str, names: Mapping[int, str]) -> int:
    """The number of the class with this name; upper and lower case count as equal if unambiguous.

    A number is accepted unless the name of any class is a number. Raises InputError.
    """
    for same in (str, comparable):
        if len(found := [number for number, own in names.items() if same(own) == same(name)]) == 1:
            return found[0]
    is_class = name.isdecimal() and len(name) < 20 and int(name) in names
    if is_class and not any(is_number(own) for number, own in names.items() if own != str(number)):
        return int(name)
    fix = f"choose {listed(names)}" if names else "it was trained without labels, so leave them out"
    raise InputError(f"the model has no class {name!r}: {fix}")


def comparable(name: str) -> str:
    """A name in lower case and NFC: macOS stores accents as separate characters."""
    return unicodedata.normalize("NFC", name).casefold()


def listed(names: Mapping[int, str]) -> str:
    """Class names for a message, with their numbers where they differ."""
    plain = all(own == str(number) for number, own in names.items())
    if names and plain and len(names) == max(names) + 1:
        return f"0 to {max(names)}"
    return listing([own if own == str(number) else f"{own} ({number})"
                    for number, own in sorted(names.items())])


def label_tensor(given: Labels, count: int, classes: int, names: Mapping[int, str]) -> Tensor:
    """Labels as a user gives them -> (count,) integers, -1 for none.

    classes: how many classes the model has. names: of the classes with training images (empty: all
    have, without names). Raises InputError for labels that do not exist, or not one per image.
    """
    names = names or {number: str(number) for number in range(classes)}
    labels = as_integers(given, names)
    labels = labels.expand(count) if labels.dim() == 0 else labels
    if labels.shape != (count,):
        given = len(labels) if labels.dim() == 1 else f"an array {tuple(labels.shape)}"
        raise InputError(f"{count} images need {count} labels, not {given}")
    known = torch.tensor([-1, *names])
    if wrong := labels[~torch.isin(labels, known)].tolist():
        fix = f"choose {listed(names)}, or -1 for none" if classes else "leave the labels out"
        reason = "" if classes else ", because it was trained without labels"
        raise InputError(f"the model has no label {wrong[0]}{reason}: {fix}")
    return labels


def as_integers(given: Labels, names: Mapping[int, str]) -> Tensor:
    """Numbers and names of labels -> integers. Raises InputError for anything else."""
    if hasattr(given, "tolist") and not isinstance(given, Tensor):  # an array, perhaps of names
        given = given.tolist()
    if isinstance(given, str):
        given = class_number(given, names)
    elif isinstance(given, list | tuple):
        given = [class_number(label, names) if isinstance(label, str) else label for label in given]
    try:
        labels = torch.as_tensor(given)
        whole = not (labels.is_floating_point() or labels.is_complex()
                     or labels.dtype == torch.bool)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch has several
        whole = False
    if not whole:
        raise InputError("labels are whole numbers: 0 for the first class, -1 for none")
    return labels


def in_turn(labels: list[int] | None, count: int) -> list[int] | None:
    """[3, 5], 5 -> [3, 5, 3, 5, 3]: a label for each of `count` images."""
    return labels and [labels[k % len(labels)] for k in range(count)]
