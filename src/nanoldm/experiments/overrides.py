"""A recipe with changes from outside: the command line's short options, and any field by its dotted name. No torch here."""

import textwrap
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from nanoldm.experiments.config import Recipe, settings
from nanoldm.experiments.recipes import find_recipe
from nanoldm.utils import limits
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import user_path

# Fields that have an option of their own.
OPTIONS = {"budget": "--budget", "training.epochs": "--epochs", "training.steps": "--steps", "autoencoder_training.epochs": "--ae-epochs",
           "data.name": "--data", "data.size": "--size", "data.holdout": "--holdout", "seed": "--seed"}
LENGTHS = ("budget", "training.epochs", "training.steps")       # of the denoiser's training


def override(name: str, fields: Mapping[str, Any] | None = None, *, budget: float | None = None, epochs: int | None = None,
             steps: int | None = None, ae_epochs: int | None = None, data: str | None = None, size: int | None = None,
             holdout: int | None = None, seed: int | None = None) -> Recipe:
    """The recipe called `name` with the command line's options; None leaves a field as the recipe has it.

    fields: any others by their dotted names, as values or as texts: {"training.learning_rate": "1e-3", "training.gradient_clip": "none"}.
    A length in steps replaces one in epochs, and the other way round.
    Raises InputError for an unknown recipe or field, a value that is not allowed, or what is said twice.
    """
    short = {"budget": budget, "training.epochs": epochs, "training.steps": steps, "autoencoder_training.epochs": ae_epochs,
             "data.name": data, "data.size": size, "data.holdout": holdout, "seed": seed}
    short = {field: value for field, value in short.items() if value is not None}
    recipe = find_recipe(name)()
    fields = {field: value_of(recipe, field, value) for field, value in (fields or {}).items()}
    if twice := short.keys() & fields.keys():
        raise InputError(" and ".join(f"{OPTIONS[field]} and --set {field}" for field in sorted(twice)) + " say the same: give one of them")
    changes = short | fields
    if sum(changes.get(length) is not None for length in LENGTHS) > 1:
        raise InputError("--budget, --epochs and --steps all set the length of the denoiser's training, and so do --set training.epochs "
                         "and --set training.steps: give one of them")
    for group in ("training", "autoencoder_training"):
        for given, other in (("epochs", "steps"), ("steps", "epochs")):
            if changes.get(f"{group}.{given}") is not None:
                changes.setdefault(f"{group}.{other}", None)
    if "data.name" in changes:
        changes["data.name"] = absolute(str(changes["data.name"]))
    try:
        return recipe.replace(**nested(changes))
    except ValidationError as error:
        raise InputError(explain(error, short)) from None


def value_of(recipe: Recipe, field: str, value: Any) -> Any:
    """`value` as the recipe's checks can read it: "none" is None where that is allowed. Raises InputError for an unknown field."""
    if field == "recipe":
        raise InputError("--set recipe: the recipe is chosen by its name: nanoldm train NAME")
    known = settings(recipe)
    if field not in known:
        nearest = get_close_matches(field, known, n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise InputError(f"--set {field}: a recipe has no such field: {hint}nanoldm recipes {recipe.recipe} lists all")
    return None if optional(field) and str(value).lower() == "none" else value


def optional(field: str) -> bool:
    """Whether a dotted name may be none."""
    *group, leaf = field.split(".")
    model = Recipe.model_fields[group[0]].annotation if group else Recipe
    return type(None) in get_args(model.model_fields[leaf].annotation)


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """{"seed": 1, "training.epochs": 3} -> {"seed": 1, "training": {"epochs": 3}}."""
    tree: dict[str, Any] = {}
    for field, value in changes.items():
        *group, leaf = field.split(".")
        (tree.setdefault(group[0], {}) if group else tree)[leaf] = value
    return tree


def explain(error: ValidationError, short: Mapping[str, Any]) -> str:
    """The first thing that is wrong: what was given, and what is allowed."""
    wrong = error.errors()[0]
    field, allowed = ".".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ").split(", unable to parse")[0]
    allowed = allowed[0].lower() + allowed[1:]
    if isinstance(wrong["input"], dict):                    # a rule about a whole group
        return f"{field}: {allowed}"
    value = limits.short(wrong["input"]) if isinstance(wrong["input"], int) else textwrap.shorten(str(wrong["input"]), 60)
    given = f"{OPTIONS[field]} {value}" if field in short else f"--set {field}={value}"
    return f"{given}: {allowed}" + (" or none" if optional(field) and field not in short else "")


def absolute(data: str) -> str:
    """folder:PATH with an absolute path, so that the name means the same from everywhere; other names as they are."""
    kind, colon, path = data.partition(":")
    return f"folder:{user_path(path).resolve()}" if (kind, colon) == ("folder", ":") and path.strip() else data
