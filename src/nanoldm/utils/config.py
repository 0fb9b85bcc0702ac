"""Frozen, validated groups of settings. Does not import torch."""

import re
import textwrap
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from nanoldm.utils.errors import InputError


class Config(BaseModel):
    """A frozen group of settings. Unknown names and values out of range are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any):
        """Raises InputError that names the wrong field."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(explain(error)) from None

    def replace(self, **changes: Any):
        """A checked copy with some fields changed: replace(seed=1, training={"epochs": 20}).

        A dictionary changes fields of a group. Raises InputError that names the wrong field.
        """
        current = self.model_dump()
        for name, value in changes.items():
            current[name] = (current.get(name) or {}) | value if isinstance(value, dict) else value
        return type(self)(**current)


def explain(error: ValidationError) -> str:
    """The first mistake in one line: the field, the given value, and what is allowed."""
    first = error.errors()[0]
    field, rule = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):  # from a group, which has named its own field
        separator = "." if re.match(r"[\w.]+ is ", rule) else ": "
        return f"{field}{separator}{rule}" if field else rule
    value = textwrap.shorten(str(first["input"]), 60)
    return f"{field} is {value}: {rule[0].lower()}{rule[1:].split(', unable to parse')[0]}"


def flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Nested settings as {dotted name: value}."""
    found = {}
    for key, value in tree.items():
        name = prefix + key
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
