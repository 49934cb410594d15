"""One step: loss, gradients, and what the ranks tell each other of it."""
