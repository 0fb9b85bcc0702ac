"""The layout of a folder of images: training and test images, classes, files that are not read."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nanoldm.data.image_file import suffixes
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import is_system_file
from nanoldm.utils.text import is_number

TRAIN = r"trainval|training|train|trn"
TESTS = (r"testing|test|tst", r"validation|valid|val|evaluation|eval|dev")  # the first that exists
Split = tuple[Path, Path, list[Path]]  # training set, test set, other folders
Files = list[tuple[Path, str | None]]  # files in order of path with their classes


@dataclass
class Layout:
    """The files of a folder. An empty test set is to be taken from the training images."""

    train: Files = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    test: Files = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_layout(folder: Path) -> Layout:
    """How the images below `folder` are sorted: by set, then class, or by class, then set.

    Raises InputError if there are no images, or none in a set, or only some classes have two sets.
    """
    inner, skipped = inner_folder(folder), Counter()
    if split := find_split(inner):
        found = by_set(inner, split, skipped)
    elif splits := split_classes(inner):
        found = by_class(inner, splits, skipped)
    else:
        found = Layout(*sorted_by_class(inner, skipped))
        why = "is read as a class, because no other folder is named as its test or training set"
        sets = [name for name in found.classes if "" in (without(w, name) for w in (TRAIN, *TESTS))]
        found.notes += [f"{name} {why}" for name in sets]
    if inner != folder:
        found.notes.insert(0, f"the images are in {inner.relative_to(folder)}")
    if skipped:
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in skipped.most_common(10))
        found.notes.append(f"{skipped.total():,} files are not images that can be read: {kinds}")
    return found


def by_set(folder: Path, split: Split, skipped: Counter) -> Layout:
    """The layout of a folder with two sets, which may have classes."""
    train, test, others = split
    inner = inner_folder(train)
    same = test / inner.relative_to(train)
    test_folder = same if same.is_dir() else inner_folder(test)
    images, classes = sorted_by_class(inner, skipped)
    notes = [f"training images: {train.name}, test images: {test.name}", *not_read(folder, others)]
    found = Layout(images, classes, sorted_by_class(test_folder, skipped)[0], notes)
    if new := sorted({name for _, name in found.test if name} - set(classes)):
        notes.append(f"classes with test images only, which get no label: {', '.join(new[:10])}")
    return found


def by_class(folder: Path, splits: dict[str, Split | None], skipped: Counter) -> Layout:
    """The layout of a folder of classes, each with two sets or empty."""
    names = sorted({part.name for split in splits.values() if split for part in split[:2]})
    notes = [f"each class has training and test images: {', '.join(names)}"]
    found = Layout(classes=in_order(splits), notes=notes)
    for name in filter(splits.get, found.classes):
        train, test, others = splits[name]
        found.train += [(file, name) for file in find_images(train, skipped)]
        found.test += [(file, name) for file in find_images(test, skipped)]
        notes += [f"{note} (in {name})" for note in not_read(folder / name, others)]
    return found


def not_read(folder: Path, others: list[Path]) -> list[str]:
    """A note about what is next to the two sets of a folder."""
    names = [other.name for other in others] + ["images outside of both"] * has_images(folder)
    return [f"not read: {', '.join(names)}"] if names else []


def subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))


def has_images(folder: Path) -> bool:
    """Whether images are directly in `folder`."""
    return any(is_image(path) and not is_hidden(path) for path in folder.iterdir())


def is_image(path: Path) -> bool:
    return path.suffix.lower() in suffixes() and path.is_file()


def is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or is_system_file(path.name)


def inner_folder(folder: Path) -> Path:
    """`folder`, or the one below it with all images, if it is named train or has only folders."""
    inner, seen = folder, set()
    while inner.resolve() not in seen and not has_images(inner) and not find_split(inner):
        parts = [part for part in subfolders(inner) if any(map(is_image, walk(part)))]
        if len(parts) != 1:
            break
        seen.add(inner.resolve())
        inner = parts[0]
        if without(TRAIN, inner.name) == "":
            return inner
    return inner if len(subfolders(inner)) > 1 and not has_images(inner) else folder


def find_split(folder: Path) -> Split | None:
    """(training set, test set, other subfolders) if two subfolders have such names.

    The rest of the two names must be equal: train and val, or training_set and test_set.
    """
    parts = subfolders(folder)
    for words in TESTS:
        tests = {rest: p for p in parts if (rest := without(words, p.name)) is not None}
        for part in parts:
            if test := tests.get(without(TRAIN, part.name)):
                return part, test, [other for other in parts if other not in (part, test)]
    return None


def without(words: str, name: str) -> str | None:
    """A name without one of the words and without digits; None if it has none of the words."""
    pattern = rf"(?<![a-z])(?:{words})(?=[^a-z]|set|data|images|$)"
    rest, count = re.subn(pattern, "", name.lower(), count=1)
    return re.sub("[0-9]", "", rest) if count else None


def split_classes(folder: Path) -> dict[str, Split | None]:
    """{class: its split, or None if empty}; {} if no class has two sets. Raises InputError."""
    splits = {part: find_split(part) for part in subfolders(folder)}
    given = [part.name for part, split in splits.items() if split]
    if not given or has_images(folder):
        return {}
    found = {part.name: split for part, split in splits.items() if split or not any(walk(part))}
    for part in splits:
        if part.name not in found and any(map(is_image, walk(part))):
            problem = f"{part} holds images, but no training and test set like {given[0]}"
            raise InputError(f"{problem}: sort all classes alike")
    return found


def sorted_by_class(folder: Path, skipped: Counter) -> tuple[Files, list[str]]:
    """(images below `folder` with their subfolder as class, all classes in order).

    A subfolder without images is a class if it is empty, or if all names are numbers.
    """
    files = find_images(folder, skipped)
    parts = [file.relative_to(folder).parts for file in files]
    classes = [part[0] if len(part) > 1 else None for part in parts]
    used, names = set(classes) - {None}, subfolders(folder)
    numbers = all(is_number(part.name) for part in names)
    kept = [p.name for p in names if numbers or p.name in used or not any(walk(p))]
    return list(zip(files, classes, strict=True)), in_order(kept) if used else []


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted names of classes. Digits in a name count as numbers: 2 comes before 10."""
    names = list(names)
    if all(map(is_number, names)):
        return sorted(names, key=lambda name: (float(name), name))

    def key(name: str) -> tuple:
        parts = re.split("([0-9]+)", name)  # text, digits, text, ...
        return [int(part) if k % 2 else part for k, part in enumerate(parts)], name

    return sorted(names, key=key)


def find_images(folder: Path, skipped: Counter) -> list[Path]:
    """The image files below `folder`, sorted; `skipped` counts others. Raises InputError."""
    files = list(walk(folder))
    images = sorted(filter(is_image, files))
    skipped.update((file.suffix.lower() or "without an ending") if file.is_file()
                   else "broken links" for file in set(files) - set(images))
    if not images:
        kinds = ", ".join(sorted(suffixes()))
        where = "there, or in one subfolder for each class"
        raise InputError(f"{folder} holds no images: put {kinds} files {where}")
    return images


def walk(folder: Path) -> Iterator[Path]:
    """All files below `folder` that are not hidden.

    Links are followed, except to folders above and to those visited in the same subfolder.
    """
    above = {folder.resolve(), *folder.resolve().parents}
    waiting, seen = [folder], set()
    while waiting:
        for path in waiting.pop().iterdir():
            if is_hidden(path):
                continue
            if not path.is_dir():
                yield path
                continue
            place = path.relative_to(folder).parts[0], path.resolve()
            if place[1] not in above and place not in seen:
                seen.add(place)
                waiting.append(path)
