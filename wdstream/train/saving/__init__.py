"""What is saved of a run, all ranks together."""
