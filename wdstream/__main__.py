"""The `wdstream` command, and `python -m wdstream`: light, so that an interrupt is answered from the beginning."""

import signal


def main() -> None:
    """Run the command. Until its modules are imported, an interrupt ends the process as the system does it."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:  # not where a shell lets a job in the background ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from wdstream.commands.app import main as run

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
