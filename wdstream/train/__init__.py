"""Training with Accelerate: loop, model, checkpoint, evaluation, metrics."""
