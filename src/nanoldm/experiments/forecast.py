"""What a run would do: nanoldm train --dry-run."""

from nanoldm.experiments.plan import describe, make_plan
from nanoldm.experiments.requirements import memory
from nanoldm.experiments.run import Run
from nanoldm.experiments.run_checks import find_damage
from nanoldm.experiments.stages import parameter_count
from nanoldm.utils.config import flat
from nanoldm.utils.distributed import agreed, from_main
from nanoldm.utils.launched import quiet_unless_main
from nanoldm.utils.limits import gigabytes


def forecast(run: Run) -> None:
    """Print the recipe, sizes, steps, time and memory of a run; write nothing."""
    with quiet_unless_main():
        run.prepare()
        with agreed():
            stages = run.build_stages()
        for name, value in flat(run.recipe.model_dump()).items():
            print(f"  {name:<35}{value}")
        autoencoder, network = (parameter_count(stage.loss_module) for stage in stages)
        needed = memory(run.recipe, run.train_set, run.accumulate) + run.train_set.images.nbytes
        count, channels, size, _ = run.train_set.images.shape
        print(f"images: {count:,} of {size}x{size}x{channels}; parameters: autoencoder "
              f"{autoencoder:,}, denoiser {network:,}; memory: about {gigabytes(needed)}")
        for note in run.train_set.notes:
            print(f"images: {note}")
        if from_main(run.folder.plan.exists):
            from_main(lambda: describe_existing(run))
            return
        print("timing a few steps ...", flush=True)
        plan, seconds = make_plan(run.recipe, stages, *run.data, run.began, run.compile)
        print(describe(run.recipe, plan, seconds))
        print(f"dry run: nothing was written. The run would be in {run.folder.path}")


def describe_existing(run: Run) -> None:
    """Print what the command would do with the run that its folder has."""
    plan = run.resumed_plan(note_moved=False)
    end = "do nothing: it is finished" if plan.finished else "continue it"
    if plan.finished and find_damage(run.folder, plan):
        end = "make its model again, which is damaged"
    print(f"{plan.autoencoder_steps:,} steps of the autoencoder and {plan.denoiser_steps:,} of "
          f"the denoiser\ndry run: {run.folder.path} has this run already, and the command would "
          f"{end}")
