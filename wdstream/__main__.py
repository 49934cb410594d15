"""The `wdstream` command, and `python -m wdstream`: light, so that an interrupt is answered from the beginning."""

import gc
import os
import signal

_OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Imports make many objects and no garbage: to look through them again and again takes a tenth of a start."""


def main() -> None:
    """Run the command. Until its modules are imported, an interrupt ends the process as the system does it."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:  # not where a shell lets a job in the background ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else all that is installed is searched for them
    from wdstream.commands.app import main as run

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
