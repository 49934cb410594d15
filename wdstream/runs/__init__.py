"""What a run leaves, writers and readers: record, quarantine, trace, where, audit, digest."""
