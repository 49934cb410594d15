"""Evaluation: the loss of held-out sets, and CER and WER of pages that the model writes."""
