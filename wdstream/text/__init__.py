"""Text: the encoder, chat messages, the model's chat template, paragraphs. No torch."""
