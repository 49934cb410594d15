"""Which field of a row is what: maps that people write, paths in rows, layouts and forms by name."""
