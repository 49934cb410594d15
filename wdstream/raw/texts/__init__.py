"""Texts of pages that are not in the page's own file: files beside it in many formats, and their one record."""
