"""The model's own Hugging Face processor, as the reference that families are proven against."""
