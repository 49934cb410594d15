"""`python -m wdstream` is the `wdstream` command."""

from wdstream.commands.app import main

main()
