"""Columns of an index as a run reads them: a few rows at a time, each block checked when its first row is asked for."""
