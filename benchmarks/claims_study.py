"""The study of claims.toml: its arms as recipes, and where the results are."""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nanoldm.experiments.config import Recipe
from nanoldm.experiments.recipes import load_recipe
from nanoldm.utils.config import Config

HERE = Path(__file__).parent
STUDY, RESULTS = HERE / "claims.toml", HERE / "claims.jsonl"


class Latents(Config):
    """What an arm does to the normalised latents: at most one of the three."""

    scale: float = 1.0
    lift: int = 0  # channels
    raw: bool = False


class Arm(Config):
    """A change of its parent. tracks, probe, diagnostic, ddpm: what is measured besides."""

    title: str
    parent: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    latents: Latents = Latents()
    autoencoder: Literal["plain", "kl", "noise"] = "plain"
    table: Literal["own", "unscaled", "shifted"] = "own"
    seeds: tuple[int, ...] = (0,)
    tier: int = 1
    tracks: bool = False
    probe: bool = False
    diagnostic: bool = False
    ddpm: bool = False


class Contrast(Config):
    """ln of the distances of `worse` over those of `better`."""

    text: str = ""
    worse: str | list[str]
    better: str | list[str]
    ratio: float | None = None
    at_most: float | None = None


class Bound(Config):
    """A measured value of an arm must be below a bound with every seed."""

    text: str
    value: Literal["probe", "first_loss"]
    arm: str
    below: float


class Claim(Config):
    title: str
    fact: Contrast
    same_latents: bool = False
    low_rate: Contrast | None = None
    explanation: Contrast | Bound = Field(union_mode="left_to_right")
    conditions: tuple[Contrast, ...] = ()
    also: tuple[Contrast, ...] = ()


class Setting(Config):
    recipe: str
    images: int
    sampler: str
    steps: int


class Study(Config):
    """setting, arms and claims of claims.toml."""

    setting: Setting
    arms: dict[str, Arm]
    claims: dict[str, Claim]

    def settings_of(self, name: str) -> Arm:
        """The arm with what it inherits: latents, autoencoder and table of its parents."""
        arm = self.arms[name]
        if arm.parent is None:
            return arm
        parent, own = self.settings_of(arm.parent), arm.model_fields_set
        inherited = {key: getattr(parent, key) for key in ("latents", "autoencoder", "table")
                     if key not in own}
        return arm.model_copy(update=inherited | {"fields": parent.fields | arm.fields})

    def recipe(self, name: str, seed: int) -> Recipe:
        """The recipe of an arm. Its autoencoder has the same seed."""
        recipe = load_recipe(HERE / self.setting.recipe).replace(seed=seed)
        for key, value in self.settings_of(name).fields.items():
            group, _, field = key.partition(".")
            recipe = recipe.replace(**{group: {field: value}})
        return recipe

    def command(self, name: str) -> str:
        """How a reader trains an arm."""
        arm = self.settings_of(name)
        if arm.latents != Latents() or arm.autoencoder != "plain" or arm.table != "own":
            return (f"python benchmarks/claims.py run FOLDER --arms {name} --seeds 0 "
                    "--results my.jsonl")
        words = "".join(f" --{key} {value}" for key, value in arm.fields.items())
        path = "PYTHONPATH=benchmarks " if "claims_networks" in words else ""
        return f"{path}nanoldm train benchmarks/{self.setting.recipe}{words} --out runs/{name}"


def load_study(path: Path = STUDY) -> Study:
    return Study(**tomllib.loads(path.read_text(encoding="utf-8")))


def load_results(path: Path = RESULTS) -> dict[tuple[str, int], dict[str, Any]]:
    """{(arm, seed): result}."""
    if not path.exists():
        return {}
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {(line["arm"], line["seed"]): line for line in lines}
