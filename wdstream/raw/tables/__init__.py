"""Tables as raw files: parquet and Arrow, whose rows are pages."""
