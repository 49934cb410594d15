"""METS: which files of a folder are the pages of a document, which are their texts, and in which order they come."""
