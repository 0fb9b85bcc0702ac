"""A run from images to a trained model. The same call resumes it."""

import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.data.clusters import cluster_latents
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.plan import Plan, Stages, describe, make_plan, read_plan, sampling_settings
from nanoldm.experiments.previews import TEST_IMAGES, autoencoder_preview, denoiser_preview
from nanoldm.experiments.room import check_room, memory
from nanoldm.experiments.run_checks import (
    check_one_process,
    check_run,
    check_same_images,
    copy_records,
    find_damage,
    model_files,
    note_place,
)
from nanoldm.experiments.run_stage import run_stage
from nanoldm.experiments.stages import (
    Stage,
    autoencoder_stage,
    denoiser_stage,
    give_latents,
    label_count,
    normalised_latents,
    parameter_count,
    raw_tokens,
)
from nanoldm.experiments.timing import COMPILE
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import FILE, load_settings
from nanoldm.utils.config import flat
from nanoldm.utils.device import check_compiler, use_tf32
from nanoldm.utils.errors import InputError, check_choice
from nanoldm.utils.files import load_tensors, save_tensors, weights_digest, write_json
from nanoldm.utils.limits import gigabytes
from nanoldm.utils.text import shell


class Run:
    """A training run of a recipe in a folder.

    compile: train the denoiser through torch.compile: "on", "off", or "auto", if that pays. A
        run that was compiled is compiled again when it is resumed, to give the same weights.
    began: time.monotonic() at the start of the recipe's budget (default: now).
    """

    def __init__(self, folder: str | Path, recipe: Recipe, device: torch.device | str = "cpu",
                 compile: str = "auto", began: float | None = None):
        self.folder, self.recipe, self.device = RunFolder(folder), recipe, device
        check_choice("compile", compile, COMPILE)
        self.compile, self.began = compile, time.monotonic() if began is None else began
        self.data: tuple[ImageSet, ImageSet]

    def train(self) -> "Run":
        """Train, or continue the run in the folder; a finished run stays as it is.

        Raises InputError if the folder has something else or a run of another recipe, TrainingError
        if a loss is not finite, and KeyboardInterrupt, after a checkpoint, on Ctrl-C.
        """
        folder = self.folder
        self.prepare()
        plan = self.resumed_plan()
        if plan and plan.finished:
            if (damage := find_damage(folder, plan)) is None:
                print(f"{folder.path} is finished: nothing to do. Sample from it with: nanoldm "
                      f"sample {shell(folder.path)}")
                return self
            source = "the images, because the checkpoints are missing"
            if folder.checkpoint("denoiser").is_file():
                source = str(folder.checkpoints)
            print(f"the run is finished, but its model is damaged ({damage}): it is made again "
                  f"from {source}")
        stages = self.build_stages()
        if plan:
            self.continue_as(plan, stages.denoiser)
        else:
            plan = self.new_plan(stages)
        with folder.locked():
            self.train_autoencoder(stages.autoencoder, plan)
            self.train_denoiser(stages, plan)
            copy_records(folder)
            done = plan.replace(finished=True, model_sha256=model_files(folder))
            write_json(folder.plan, done.model_dump())
            copy_records(folder)
        print(f"finished: the model is in {folder.model}, pictures in {folder.samples}. Sample "
              f"from it with: nanoldm sample {shell(folder.path)}")
        return self

    def continue_as(self, plan: Plan, stage: Stage) -> None:
        """Set precision and compilation of a resumed run as they were. Raises InputError."""
        compiled = self.compile == "on" if plan.compiled is None else plan.compiled
        if self.compile != "auto" and compiled != (self.compile == "on"):
            print(f"note: compile {self.compile} has no effect: a resumed run stays as it is")
        if compiled:
            check_compiler(self.device)
        stage.use_precision(plan.precision)
        stage.use_compiler(compiled)

    def forecast(self) -> None:
        """Print the recipe, sizes, steps, time and memory of the run; write nothing."""
        self.prepare()
        stages = self.build_stages()
        for name, value in flat(self.recipe.model_dump()).items():
            print(f"  {name:<35}{value}")
        autoencoder, network = (parameter_count(stage.loss_module) for stage in stages)
        needed = memory(self.recipe, self.train_set) + self.train_set.images.nbytes
        count, channels, size, _ = self.train_set.images.shape
        print(f"images: {count:,} of {size}x{size}x{channels}; parameters: autoencoder "
              f"{autoencoder:,}, denoiser {network:,}; memory: about {gigabytes(needed)}")
        for note in self.train_set.notes:
            print(f"images: {note}")
        if self.folder.plan.exists():
            plan = self.resumed_plan(record=False)
            end = "do nothing: it is finished" if plan.finished else "continue it"
            if plan.finished and find_damage(self.folder, plan):
                end = "make its model again, which is damaged"
            print(f"{plan.autoencoder_steps:,} steps of the autoencoder and "
                  f"{plan.denoiser_steps:,} of the denoiser\ndry run: {self.folder.path} has this "
                  f"run already, and the command would {end}")
            return
        print("timing a few steps ...", flush=True)
        plan, seconds = make_plan(self.recipe, stages, *self.data, self.began, self.compile)
        print(describe(self.recipe, plan, seconds))
        print(f"dry run: nothing was written. The run would be in {self.folder.path}")

    def prepare(self) -> None:
        """Check what can be checked before any work, and load the images."""
        if self.compile == "on":
            check_compiler(self.device)
        use_tf32(torch.device(self.device), self.recipe.precision == "tf32")
        check_one_process()
        check_run(self.folder, self.recipe)
        self.data = self.train_set, self.test_set = self.recipe.data.load()

    def build_stages(self) -> Stages:
        recipe = self.recipe
        check_room(recipe, self.train_set, self.device)
        first = autoencoder_stage(recipe, self.train_set.images, self.device)
        labels = label_count(recipe, self.train_set)
        second = denoiser_stage(recipe, first.loss_module.autoencoder, labels)
        return Stages(first, second)

    def resumed_plan(self, record: bool = True) -> Plan | None:
        """The plan of the run in the folder; None for a new run. Raises InputError."""
        if not self.folder.plan.exists():
            return None
        plan = read_plan(self.folder.plan)
        check_same_images(self.folder, self.recipe, plan, *self.data)
        if record:
            plan = note_place(self.folder, self.recipe, plan)
            if not plan.finished:
                print(f"resuming the run in {self.folder.path}")
        return plan

    def new_plan(self, stages: Stages) -> Plan:
        """Decide the steps, and write recipe.json and plan.json."""
        folder = self.folder
        for note in self.train_set.notes:
            print(f"images: {note}")
        plan, seconds = make_plan(self.recipe, stages, *self.data, self.began, self.compile)
        print(describe(self.recipe, plan, seconds))
        with folder.locked():
            if folder.plan.exists():  # written while this one was planned
                raise InputError(f"another process has started a run in {folder.path}: choose "
                                 "another folder with --out")
            write_json(folder.recipe, self.recipe.model_dump())
            write_json(folder.plan, plan.model_dump())
        return plan

    def train_autoencoder(self, stage: Stage, plan: Plan) -> None:
        steps = plan.autoencoder_steps
        preview = autoencoder_preview(self.folder, stage, self.test_set)
        run_stage(self.folder, stage, (steps, steps), preview)

    def train_denoiser(self, stages: Stages, plan: Plan) -> None:
        """Encode the images, then train on their latents."""
        autoencoder, stage = stages.autoencoder.averaged.autoencoder.eval(), stages.denoiser
        latents = normalised_latents(autoencoder, self.train_set.images)
        test_images = self.test_set.images[:TEST_IMAGES]
        held_out = autoencoder.normalise(raw_tokens(autoencoder, test_images))
        origin = {"autoencoder": weights_digest(autoencoder)}
        labels = self.train_set.labels
        if self.recipe.diffusion.clusters:
            labels = self.load_or_make_clusters(latents, stage.loss_module.denoiser.labels, origin)
        give_latents(stage, self.recipe, latents, labels)
        models = {name: self.model(autoencoder, loss.denoiser, latents) for name, loss in
                  {"weights": stage.loss_module, "EMA weights": stage.averaged}.items()}
        steps = (plan.denoiser_steps, plan.preview_every)
        test_labels = self.test_set.labels[:TEST_IMAGES]
        preview = denoiser_preview(self.folder, self.recipe, stage, models, held_out, test_labels)
        gates = getattr(stage.loss_module.denoiser.network, "gates", None)
        watch = (lambda: {"gates": gates(self.recipe.diffusion.timesteps)}) if gates else dict
        if not run_stage(self.folder, stage, steps, preview, watch, **origin):
            copy_records(self.folder)  # the model may be missing
            own, averaged = self.folder.model, models["EMA weights"]
            with suppress(InputError):  # settings stored by `compare --save` stay
                if (own / FILE).exists():
                    averaged.settings = load_settings(own, averaged.denoiser.schedule)
            averaged.save_pretrained(own)

    def model(self, autoencoder, denoiser, latents: Tensor) -> LatentDiffusion:
        clusters = bool(self.recipe.diffusion.clusters)
        names = self.train_set.names() if denoiser.labels and not clusters else None
        settings = sampling_settings(self.recipe, denoiser.schedule)
        limit = latents.abs().max().item()
        return LatentDiffusion(autoencoder, denoiser, limit, settings=settings, class_names=names,
                               pseudo_labels=clusters and denoiser.labels > 0)

    def load_or_make_clusters(self, latents: Tensor, count: int, origin: dict[str, str]) -> Tensor:
        """The cluster of each training latent (N,), found once: a resumed run uses the same.

        Raises InputError if the file is damaged or of other latents.
        """
        file = self.folder.checkpoint("clusters")
        if not file.exists():
            save_tensors(file, {"clusters": cluster_latents(latents, count)}, **origin)
        tensors, metadata = load_tensors(file, "remove it, and the same command makes it again")
        found = tensors.get("clusters", torch.empty(0))
        fits = found.shape == latents.shape[:1] and found.dtype == torch.long
        fits = fits and found.min() >= 0 and found.max() < max(1, count)
        if not fits or any(metadata.get(name, value) != value for name, value in origin.items()):
            raise InputError(f"{file} is not of this run's latents: remove the run folder to start "
                             "again, or choose another with --out")
        return found
