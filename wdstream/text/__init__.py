"""Text: the encoder, chat messages, the checkpoint's template, paragraphs. No torch."""
