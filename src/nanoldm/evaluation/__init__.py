"""How good a model is: metrics with intervals and floors, reports, sampler comparison, the doctor."""
