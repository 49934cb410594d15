"""`python -m wdstream` is the `wdstream` command."""

from wdstream.cli import main

main()
