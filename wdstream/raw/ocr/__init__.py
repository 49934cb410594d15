"""Pages without a text are read from their picture, where that is asked for: by a program, `--ocr`."""
