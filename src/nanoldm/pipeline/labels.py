"""What a model's classes are called, and labels that users give by name or by number."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from nanoldm.data.layout import is_number
from nanoldm.pipeline.folders import find_model
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, refusing
from nanoldm.utils.limits import LARGEST_SEED, within
from nanoldm.utils.options import parse_numbers
from nanoldm.utils.text import listing

INDEX = "model_index.json"


def read_class_names(folder: Path) -> dict[int, str]:
    """Number -> name of the classes that the model in `folder` was trained on, from `id2label`, as diffusers calls it; {} where classes are
    only numbered. Raises InputError that names the file if it is damaged."""
    with refusing(folder / INDEX):
        names = {int(number): name for number, name in read_json(folder / INDEX).get("id2label", {}).items()}
        if not all(number >= 0 and isinstance(name, str) for number, name in names.items()):
            raise ValueError("id2label must name classes from 0 on")
    return names


def labels_of(model: str | Path, text: str) -> list[int] | None:
    """--label cat, 7, 0-9 or 3,5 -> the classes of `model`; none -> [-1]; empty (not given) -> None. Raises InputError."""
    if not text:
        return None
    if text.lower() == "none":
        return [-1]
    return parse_labels(text, read_class_names(find_model(model)))


def parse_labels(text: str, names: Mapping[int, str]) -> list[int]:
    """As `labels_of`, of classes with these names."""
    if text in names.values():      # it may hold a comma or a dash
        return [class_number(text, names)]
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,19})\s*-\s*([0-9]{1,19})\s*", part)
        if names and (not ends or part.strip() in names.values()):
            found.append(class_number(part.strip(), names))
            continue
        numbers = parse_numbers("--label", part, "7, 0-9 or 3,5, or none")
        found += [class_number(str(number), names) for number in numbers] if names else numbers
    within("--label", max(found), 0, LARGEST_SEED)
    return found


def class_number(name: str, names: Mapping[int, str]) -> int:
    """The class of that name, in any case of letters where that leaves one; or of that number, unless any name is a number.

    Raises InputError for one that does not exist.
    """
    for same in (str, alike):
        if len(found := [number for number, own in names.items() if same(own) == same(name)]) == 1:
            return found[0]
    if name.isdecimal() and len(name) < 20 and int(name) in names and not any(map(is_number, different(names))):
        return int(name)
    raise InputError(f"the model knows no class {name!r}: "
                     + (f"choose {listed(names)}" if names else "it was trained without labels, so leave them out"))


def alike(name: str) -> str:
    """A name as it is compared: macOS writes accents as characters of their own."""
    return unicodedata.normalize("NFC", name).casefold()


def different(names: Mapping[int, str]) -> list[str]:
    """Names that are not the number of their class."""
    return [name for number, name in names.items() if name != str(number)]


def listed(names: Mapping[int, str]) -> str:
    """Names for a message, with their numbers where these differ."""
    if names and all(own == str(number) for number, own in names.items()) and len(names) == max(names) + 1:
        return f"0 to {max(names)}"
    texts = [own if own == str(number) else f"{own} ({number})" for number, own in sorted(names.items())]
    return listing(texts)
