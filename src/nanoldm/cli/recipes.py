"""The command that shows what there is to train."""

from typing import Annotated

from tyro.conf import Positional, arg


def recipes(name: Positional[Annotated[str | None, arg(metavar="[NAME]", help_behavior_hint="")]] = None) -> None:
    """List the recipes: what each is, how it differs from the reference, its command, time and score; or all fields of one.

    Example: nanoldm recipes mnist-v

    Args:
        name: A recipe: print its whole description and every field, as `nanoldm train NAME --set FIELD=VALUE` takes them.
    """
    from nanoldm.cli.listing import describe_recipe, list_recipes
    print(list_recipes() if name is None else describe_recipe(name))
