"""How much memory of a GPU a run takes, before it is started."""
