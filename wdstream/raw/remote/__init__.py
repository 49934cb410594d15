"""A raw folder that is a URL: its files listed, read in memory or by ranges, never copied as a collection."""
