"""Where files are written, a module for each kind of place: local folders, stores of fsspec, S3; and the lease."""
