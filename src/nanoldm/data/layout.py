"""What lies where in a folder of images: training and test images, classes, and what is not read."""

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
TESTS = (r"testing|test|tst", r"validation|valid|val|evaluation|eval|dev")      # the first that is there is the test set
Split = tuple[Path, Path, list[Path]]       # training set, test set, what lies beside them


@dataclass
class Layout:
    """Image files in order of path, each with the name of its class (None: it has none); what a user should know about them."""

    train: list[tuple[Path, str | None]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    test: list[tuple[Path, str | None]] = field(default_factory=list)       # none: to be taken from the training images
    notes: list[str] = field(default_factory=list)


def find_layout(folder: Path) -> Layout:
    """How the images below `folder` are sorted: by training and test set first or by class first, below one outer folder or none.

    Raises InputError where there are no images, none in one of two sets, or where some classes are split into sets and others are not.
    """
    inner, skipped = unwrapped(folder), Counter()
    if split := find_split(inner):
        found = by_set(inner, split, skipped)
    elif splits := split_classes(inner):
        found = by_class(inner, splits, skipped)
    else:
        found = Layout(*sorted_by_class(inner, skipped))
        lonely = [name for name in found.classes if any(without(words, name) == "" for words in (TRAIN, *TESTS))]
        found.notes += [f"{name} is read as a class, since no other folder has the name of its test or training set" for name in lonely]
    if inner != folder:
        found.notes.insert(0, f"the images lie in {inner.relative_to(folder)}")
    if skipped:
        reasons = ", ".join(f"{count:,} {ending}" for ending, count in skipped.most_common(10))
        found.notes.append(f"{sum(skipped.values()):,} files were skipped, since they are no images of a kind that is read: {reasons}")
    return found


def by_set(folder: Path, split: Split, skipped: Counter) -> Layout:
    """Of a folder of two sets, with or without classes below."""
    train, test, others = split
    inner = unwrapped(train)
    same = test / inner.relative_to(train)
    images, classes = sorted_by_class(inner, skipped)
    found = Layout(images, classes, sorted_by_class(same if same.is_dir() else unwrapped(test), skipped)[0],
                   [f"training images: {train.name}, test images: {test.name}", *not_read(folder, others)])
    if new := sorted({name for _, name in found.test if name} - set(classes)):
        found.notes.append(f"classes of test images alone, which get no label: {', '.join(new[:10])}")
    return found


def by_class(folder: Path, splits: dict[str, Split | None], skipped: Counter) -> Layout:
    """Of a folder of classes, each of which holds two sets or nothing."""
    names = sorted({part.name for split in splits.values() if split for part in split[:2]})
    found = Layout(classes=in_order(splits), notes=[f"training and test images lie within each class: {', '.join(names)}"])
    for name in found.classes:
        if splits[name]:
            train, test, others = splits[name]
            found.train += [(file, name) for file in find_images(train, skipped)]
            found.test += [(file, name) for file in find_images(test, skipped)]
            found.notes += [f"{note} (in {name})" for note in not_read(folder / name, others)]
    return found


def not_read(folder: Path, others: list[Path]) -> list[str]:
    """A note on what lies in a folder beside its two sets."""
    beside = [other.name for other in others] + ["the images beside them"] * holds_images(folder)
    return [f"not read: {', '.join(beside)}"] if beside else []


def subfolders(folder: Path) -> list[Path]:
    """But for those that a system made or hides."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))


def holds_images(folder: Path) -> bool:
    """Whether images lie directly in it."""
    return any(is_image(path) and not is_hidden(path) for path in folder.iterdir())


def is_image(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in suffixes() and path.is_file()


def is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or is_system_file(path.name)


def unwrapped(folder: Path) -> Path:
    """`folder`, or where images lie in one subfolder alone, and there perhaps in one again, the innermost of them, if it is no class: if it
    is called train, or holds several folders and no images."""
    here, seen = folder, set()
    while here.resolve() not in seen and not holds_images(here) and not find_split(here):
        inner = [part for part in subfolders(here) if any(is_image(file) for file in walk(part))]
        if len(inner) != 1:
            break
        seen.add(here.resolve())
        here = inner[0]
        if without(TRAIN, here.name) == "":
            return here
    return here if len(subfolders(here)) > 1 and not holds_images(here) else folder


def find_split(folder: Path) -> Split | None:
    """(training set, test set, other subfolders) where two subfolders are called so: train and test, Training and Testing, train and val,
    training_set and test_set, ... What beside these words is in the two names must be the same."""
    parts = subfolders(folder)
    for words in TESTS:
        tests = {rest: part for part in parts if (rest := without(words, part.name)) is not None}
        for part in parts:
            if test := tests.get(without(TRAIN, part.name)):
                return part, test, [other for other in parts if other not in (part, test)]
    return None


def without(words: str, name: str) -> str | None:
    """A name without one of the words, and without numbers; None where it has none of the words."""
    rest, count = re.subn(rf"(?<![a-z])(?:{words})(?=[^a-z]|set|data|images|$)", "", name.lower(), count=1)
    return re.sub("[0-9]", "", rest) if count else None


def split_classes(folder: Path) -> dict[str, Split | None]:
    """The split of each class folder by its name, None for an empty one; {} where no class is split. Raises InputError where some are."""
    parts = subfolders(folder)
    splits = {part.name: find_split(part) for part in parts}
    if not any(splits.values()) or holds_images(folder):
        return {}
    for part in parts:
        if not splits[part.name] and (inside := list(walk(part))):
            if any(map(is_image, inside)):
                given = next(name for name, split in splits.items() if split)
                raise InputError(f"{part} holds images, but no training and test set as {given} beside it does: sort all classes alike")
            del splits[part.name]           # no class: only other files
    return splits


def sorted_by_class(folder: Path, skipped: Counter) -> tuple[list[tuple[Path, str | None]], list[str]]:
    """(images below `folder` with their class, the subfolder that they lie in; all classes in order).

    A subfolder without images is a class as well, if it is empty or all are numbers: the other classes keep theirs.
    """
    files = find_images(folder, skipped)
    parts = [file.relative_to(folder).parts for file in files]
    images = [(file, part[0] if len(part) > 1 else None) for file, part in zip(files, parts, strict=True)]
    used, folders = {name for _, name in images if name}, subfolders(folder)
    numbers = all(is_number(part.name) for part in folders)
    classes = [part.name for part in folders if numbers or part.name in used or not any(walk(part))]
    return images, in_order(classes) if used else []


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes in order: numbers count as numbers, also within a name, so that 2 comes before 10."""
    names = list(names)
    if all(map(is_number, names)):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names, key=lambda name: ([(not part.isdecimal(), int(part) if part.isdecimal() else part)
                                            for part in re.split(r"([0-9]+)", name) if part], name))


def find_images(folder: Path, skipped: Counter) -> list[Path]:
    """Image files below `folder` in order of path. Links are followed. What is no image is counted in `skipped` by its ending."""
    files = list(walk(folder))
    images = sorted(filter(is_image, files))
    skipped.update(file.suffix.lower() or "without an ending" if file.is_file() else "broken links" for file in set(files) - set(images))
    if not images:
        raise InputError(f"{folder} holds no images: put {', '.join(sorted(suffixes()))} files there, or in one subfolder for each class")
    return images


def walk(folder: Path) -> Iterator[Path]:
    """All that lies below `folder` but is no folder and not hidden. Links are followed, but none to a folder that was seen already in the
    same subfolder of `folder`, or lies above: that would take long, or never end."""
    above = [folder.resolve(), *folder.resolve().parents]
    left, seen = [folder], {(None, path) for path in above}
    while left:
        here = left.pop()
        for path in here.iterdir():
            if is_hidden(path):
                continue
            if not path.is_dir():
                yield path
                continue
            top, real = path.relative_to(folder).parts[0], path.resolve()
            if not {(top, real), (None, real)} & seen:
                seen.add((top, real))
                left.append(path)
