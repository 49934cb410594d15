"""The model that is trained: weights, adapters, what of it learns."""
