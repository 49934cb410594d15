"""Who does work that falls into pieces: processes of this machine, a Ray cluster, or the parts of a job array."""
