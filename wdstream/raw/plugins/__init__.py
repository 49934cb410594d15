"""Sources of others: classes or functions that an installed package offers, or that `--source` names."""
