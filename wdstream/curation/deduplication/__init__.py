"""Copies among pages: by what they are compared, which are copies of which, which stays, and the list of others."""
