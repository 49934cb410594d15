"""Texts of pages that are not in the page's own file: files next to it in many formats, and their one record."""
