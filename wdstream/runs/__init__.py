"""What a run leaves behind, writers beside readers: record, quarantine, trace, where, audit, digest."""
