"""What `nanoldm recipes` prints, read from the recipes' docstrings and values. No torch here."""

import inspect
import re

from nanoldm.experiments.config import Recipe, settings
from nanoldm.experiments.recipes import RECIPES, find_recipe, mnist


def list_recipes() -> str:
    """Each recipe: summary, differences from the reference, and the notes of its docstring."""
    parts = [f"{name}: {text(name).splitlines()[0]}\n" + aligned(notes(name) | differences(name)) for name in RECIPES]
    return "\n\n".join([*parts, "Every field of one: nanoldm recipes NAME. Change any: nanoldm train NAME --set FIELD=VALUE"])


def describe_recipe(name: str) -> str:
    """A recipe's whole docstring and every field, those that differ from the reference marked. Raises InputError for an unknown name."""
    recipe = find_recipe(name)()
    return f"{name}: {text(name)}\n\n{table(recipe, mnist(), 'mnist')}"


def text(name: str) -> str:
    return inspect.getdoc(find_recipe(name))


def notes(name: str) -> dict[str, str]:
    """The lines `Word: text` of a docstring: Command, Time, Score."""
    return dict(re.findall(r"^([A-Z][a-z]+): (.+)$", text(name), re.MULTILINE))


def differences(name: str) -> dict[str, str]:
    ours, theirs = settings(find_recipe(name)()), settings(mnist())
    changed = [f"{field} {shown(value)} (mnist: {shown(theirs[field])})" for field, value in ours.items() if value != theirs[field]]
    return {"Differs": ", ".join(changed)} if changed else {}


def table(recipe: Recipe, other: Recipe, name: str) -> str:
    """Every field with its value, one in a line; where `other`, called `name`, has another value, that too."""
    theirs = settings(other)
    return aligned({field: shown(value) + (f"  ({name}: {shown(theirs[field])})" if value != theirs[field] else "")
                    for field, value in settings(recipe).items()})


def aligned(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def shown(value: object) -> str:
    """A value as --set takes it."""
    return "none" if value is None else str(value)
