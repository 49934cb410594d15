"""Planning in another process: steps of large batches are planned next to training, not in its interpreter."""
