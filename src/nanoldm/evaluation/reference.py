"""The reference of every metric: real images, and the feature networks to compare them by."""

from dataclasses import dataclass
from pathlib import Path

from nanoldm.data import ImageSet
from nanoldm.data.source import Data, absolute
from nanoldm.evaluation.features import Features, check_fit, load_features, retrain
from nanoldm.evaluation.judge import Judge
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.own_images import images_of
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import check_folder


@dataclass(frozen=True)
class RealImages:
    """A loaded reference."""

    features: Features
    data: Data
    train: ImageSet
    test: ImageSet

    def judge(self) -> Judge:
        return Judge(self.features, self.train, self.test)


@dataclass(frozen=True)
class Reference:
    """What models are compared with.

    features: a bundled set of feature networks, or a folder that `nanoldm features` wrote.
    weak_features: also accept networks that are often wrong.
    data: use these real images (mnist, ... or folder:PATH) instead of those of the model.
    """

    features: str | Path = "digits-v1"
    weak_features: bool = False
    data: str | None = None

    def load(self, model: str | None) -> RealImages:
        """The networks, and the images that `model` was trained on.

        Without a model, or without its name, the images that the networks were trained on.
        Raises InputError if the images have changed, or if the networks do not belong to them.
        """
        features = load_features(self.features, self.weak_features)
        data, train, test = images_of(model, self.data) if model else self._images(features)
        check_fit(features, test.images, data.name)
        check_origin(features, data, train, asked=self.data is not None)
        return RealImages(features, data, train, test)

    def _images(self, features: Features) -> tuple[Data, ImageSet, ImageSet]:
        data = Data.model_validate(features.facts["data"])
        if self.data is not None:
            size = next(iter(features.networks.values())).config["image_size"]
            data = data.replace(name=absolute(self.data), size=size)
        return data, *data.load()


DEFAULT_REFERENCE = Reference()


def check_origin(features: Features, data: Data, train: ImageSet, asked: bool) -> None:
    """Raise InputError unless the networks were trained on this data.

    Equal images are the same data, wherever they are stored. Under an equal name, images that have
    changed are accepted only if the user `asked` for them.
    """
    facts, fix = features.facts, retrain(data.name, train.images.shape[-1])
    name, theirs, sha = facts["name"], facts["data"], facts.get("images_sha256")
    if sha is not None and sha == train.digest(labelled=True):
        return
    if theirs["name"] != data.name:
        raise InputError(f"the feature networks {name} were trained on {theirs['name']}, and this "
                         f"is {data.name}: {fix}")
    if sha is not None and theirs["holdout"] == data.holdout and not asked:
        raise InputError(f"the images of {data.name} have changed since the feature networks "
                         f"{name} were trained on them: {fix}")


def as_model(model: str | Path | LatentDiffusion) -> LatentDiffusion:
    """A model by name or path; a loaded model as it is."""
    if isinstance(model, LatentDiffusion):
        return model
    return LatentDiffusion.from_pretrained(model)


def results_folder(command: str, name: str | None, out: Path | None) -> Path:
    """`out`, or COMMAND/NAME. Raises InputError if it cannot be written to."""
    out = out or Path(command) / Path(name or "model").resolve().name
    check_folder(out)
    return out
