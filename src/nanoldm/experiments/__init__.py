"""Runs: typed recipes, the two trainings, plans, logs and resuming. In the order of reading:

    config.py, recipes.py         every setting of an experiment; the experiments
    stages.py, stage.py           the trainings of autoencoder, denoiser and student; one of them
    batches.py, latents.py        what they train on
    plan.py, timing.py            how many steps, how long, in which precision
    run.py                        a run: checks, plan, both trainings
    run_stage.py, train_denoiser.py, train_student.py   a training that logs and resumes
    previews.py, log.py           what a run shows while it trains
    distill.py, export.py, model_card.py                students; models to share
"""
