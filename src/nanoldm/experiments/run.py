"""A run from images to a trained model. The same call resumes it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nanoldm.data import ImageSet
from nanoldm.data.given import image_sets
from nanoldm.data.source import GIVEN
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.plan import Plan, Stages, describe, make_plan, read_plan
from nanoldm.experiments.previews import autoencoder_preview
from nanoldm.experiments.requirements import check_requirements
from nanoldm.experiments.run_checks import (
    check_run,
    check_same_images,
    copy_history,
    find_damage,
    model_files,
    record_moved_images,
)
from nanoldm.experiments.run_stage import run_stage
from nanoldm.experiments.stage import Stage, parts_of_batch
from nanoldm.experiments.stages import autoencoder_stage, denoiser_stage, label_count, student_stage
from nanoldm.experiments.timing import COMPILE
from nanoldm.experiments.trackers import Trackers
from nanoldm.experiments.train_denoiser import train_denoiser
from nanoldm.experiments.train_student import load_teacher, train_student
from nanoldm.pipeline.folders import INDEX, RunFolder
from nanoldm.pipeline.saving import save_autoencoder
from nanoldm.utils.device import check_compiler, use_tf32
from nanoldm.utils.distributed import (
    agreed,
    copy_from_main,
    first_of_machine,
    from_main,
    gather,
    is_main,
    join,
    shared,
)
from nanoldm.utils.errors import InputError, check_choice
from nanoldm.utils.files import write_json
from nanoldm.utils.launched import quiet_unless_main
from nanoldm.utils.limits import within
from nanoldm.utils.text import shell

MOST_PARTS = 1024


class Run:
    """A training run of a recipe in a folder.

    folder: default: runs/RECIPE.
    compile: train the denoiser through torch.compile: "on", "off", or "auto", if that pays. A
        run that was compiled is compiled again when it is resumed, to give the same weights.
    accumulate: compute each batch in so many parts, one after the other, which takes less memory.
    data: (training images, test images) instead of those that the recipe names: tensors, arrays,
        (images, labels), torch datasets (`data.given.image_set` has the details). A resumed run
        needs the same.

    Several processes (`utils.distributed`) share the batches and give the same run, up to rounding.
    began: an attribute, time.monotonic() at the start of the recipe's budget.
    """

    def __init__(self, folder: str | Path | None, recipe: Recipe,
                 device: torch.device | str = "cpu", *, compile: str = "auto",
                 accumulate: int = 1, data: Any = None):
        self.folder = RunFolder(Path("runs") / recipe.recipe if folder is None else folder)
        self.recipe, self.device = recipe.with_absolute_paths(), device
        self.load = self.recipe.data.load
        if data is not None:
            self.recipe = self.recipe.replace(data={"name": GIVEN, "holdout": 0})
            self.load = partial(image_sets, data, recipe.data.size)
        check_choice("compile", compile, COMPILE)
        self.compile, self.accumulate = compile, within("accumulate", accumulate, 1, MOST_PARTS)
        self.began = time.monotonic()
        self.data: tuple[ImageSet, ImageSet]

    def train(self, trackers: Sequence[str] = (), only: str | None = None) -> "Run":
        """Train, or continue the run in the folder; a finished run stays as it is.

        trackers: where copies of the log go: "tensorboard", "wandb", "trackio".
        only: "autoencoder" stops after it. Another call goes on, or another run takes it
            (`Recipe.autoencoder_from`).
        Raises InputError if the folder has something else or a run of another recipe, TrainingError
        if a loss is not finite, and KeyboardInterrupt, after a checkpoint, on Ctrl-C.
        """
        self.trackers = Trackers(trackers)
        if only is not None:
            check_choice("stage", only, ["autoencoder"])
        with quiet_unless_main():
            self.prepare()
            plan = from_main(self.resumed_plan)
            if not (plan and plan.finished and from_main(lambda: self.is_complete(plan))):
                self.train_stages(plan, only)
        return self

    def is_complete(self, plan: Plan) -> bool:
        """Whether the model of a finished run is as it was written. Prints what will be done."""
        folder = self.folder
        if (damage := find_damage(folder, plan)) is None:
            print(f"{folder.path} is finished: nothing to do. Sample from it with: nanoldm sample "
                  f"{shell(folder.path)}")
            return True
        source = "the images, because the checkpoints are missing"
        if folder.checkpoint("denoiser").is_file():
            source = str(folder.checkpoints)
        print(f"the run is finished, but its model is damaged ({damage}): it is made again from "
              f"{source}")
        return False

    def train_stages(self, plan: Plan | None, only: str | None) -> None:
        """Train the stages. plan: of a resumed run."""
        with agreed():
            stages = self.build_stages()
        for stage in stages:
            copy_from_main(stage.loss_module)
            copy_from_main(stage.averaged)
        if plan:
            self.continue_as(plan, stages.denoiser)
        else:
            plan = self.new_plan(stages)
        with ExitStack() as locks:
            from_main(lambda: locks.enter_context(self.folder.locked()))
            with agreed():
                if is_main():
                    self.trackers.start(self.folder, self.recipe, self.device)
                    locks.callback(self.trackers.finish)
            self.train_autoencoder(stages.autoencoder, plan)
            if only == "autoencoder":
                from_main(lambda: self.finish_autoencoder(stages.autoencoder))
                return
            if self.recipe.distillation:
                train_student(self.folder, self.recipe, self.teacher, stages.denoiser, plan,
                              self.trackers)
            else:
                train_denoiser(self.folder, self.recipe, self.data, stages, plan, self.trackers)
            from_main(lambda: self.finish(plan))

    def finish_autoencoder(self, stage: Stage) -> None:
        """Write the autoencoder alone, unless there is a model, which has it."""
        place = self.folder.model / "autoencoder"
        if not (self.folder.model / INDEX).exists():
            save_autoencoder(place, stage.averaged.autoencoder)
        print(f"finished: the autoencoder is in {place}")

    def finish(self, plan: Plan) -> None:
        folder = self.folder
        copy_history(folder)
        done = plan.replace(finished=True, model_sha256=model_files(folder))
        write_json(folder.plan, done.model_dump())
        copy_history(folder)
        print(f"finished: the model is in {folder.model}, pictures in {folder.samples}. Sample "
              f"from it with: nanoldm sample {shell(folder.path)}")

    def continue_as(self, plan: Plan, stage: Stage) -> None:
        """Set precision and compilation of a resumed run as they were. Raises InputError."""
        if self.compile != "auto" and plan.compiled != (self.compile == "on"):
            print(f"note: compile {self.compile} has no effect: a resumed run stays as it is")
        if plan.compiled:
            with agreed():
                check_compiler(self.device)
        stage.use_precision(plan.precision)
        stage.use_compiler(plan.compiled)

    def prepare(self) -> None:
        """Check what can be checked before any work, and load the images."""
        join(cpu=torch.device(self.device).type == "cpu")
        with agreed():
            if self.compile == "on":
                check_compiler(self.device)
            use_tf32(torch.device(self.device), self.recipe.precision == "tf32")
        from_main(lambda: check_run(self.folder, self.recipe))
        self.data = self.train_set, self.test_set = first_of_machine(self.load)
        if shared() and len(set(gather(self.train_set.digest(labelled=True)))) > 1:
            raise InputError("data differ between the processes: give all the same images, without "
                             "random changes")

    def build_stages(self) -> Stages:
        recipe = self.recipe
        check_requirements(recipe, self.train_set, self.device, self.accumulate)
        first = autoencoder_stage(recipe, self.train_set.images, self.device)
        if recipe.distillation:
            self.teacher = load_teacher(recipe, self.device)
            second = student_stage(recipe, self.teacher.denoiser)
        else:
            labels = label_count(recipe, self.train_set)
            second = denoiser_stage(recipe, first.loss_module.autoencoder, labels)
        images, parts = len(self.train_set), self.accumulate
        if not recipe.autoencoder_from:
            first.parts = parts_of_batch(first.training, "autoencoder_training", images, parts)
        second.parts = parts_of_batch(second.training, "training", recipe.examples(images), parts)
        return Stages(first, second)

    def resumed_plan(self, note_moved: bool = True) -> Plan | None:
        """The plan of the run in the folder; None for a new run. Raises InputError."""
        if not self.folder.plan.exists():
            return None
        plan = read_plan(self.folder.plan)
        check_same_images(self.folder, self.recipe, plan, *self.data)
        if note_moved:
            plan = record_moved_images(self.folder, self.recipe, plan)
            if not plan.finished:
                print(f"resuming the run in {self.folder.path}")
        return plan

    def new_plan(self, stages: Stages) -> Plan:
        """Decide the steps, and write recipe.json and plan.json."""
        for note in self.train_set.notes:
            print(f"images: {note}")
        plan, seconds = make_plan(self.recipe, stages, *self.data, self.began, self.compile)
        print(describe(self.recipe, plan, seconds))
        from_main(lambda: self.write_plan(plan))
        return plan

    def write_plan(self, plan: Plan) -> None:
        folder = self.folder
        with folder.locked():
            if folder.plan.exists():  # written while this one was planned
                raise InputError(f"another process has started a run in {folder.path}: choose "
                                 "another folder (out)")
            write_json(folder.recipe, self.recipe.model_dump())
            write_json(folder.plan, plan.model_dump())

    def train_autoencoder(self, stage: Stage, plan: Plan) -> None:
        steps = plan.autoencoder_steps
        if not steps:  # of another run
            return
        preview = autoencoder_preview(self.folder, stage, self.test_set)
        run_stage(self.folder, stage, steps, steps, preview, self.trackers)
