"""Where the jobs of make-shards are done: by processes of this machine, by Ray on many, or in parts that are merged."""
