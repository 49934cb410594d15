"""The `wdstream` command, and `python -m wdstream`: light, so that an interrupt is answered from the beginning."""

import _thread
import gc
import signal
import sys
import time

_AGAIN_S = 0.01


def main() -> None:
    """Run the command. Until its modules are imported, an interrupt ends the process as the system does it."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:  # not where a shell lets a job in the background ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # modules stay, and looking for garbage among them takes a tenth of a start
    from wdstream.commands.app import main as run

    gc.freeze()
    gc.enable()
    if is_default:
        sys.unraisablehook = _interrupt_again
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:  # in the moment in which the command says how it ended
        print("wdstream: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        exec("")  # or `python -m` forgets the status, if the interrupt came in code from a string, as dataclasses have
        if is_default:  # whatever Python still waits for at its end
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Where Python drops an error, as in a destructor or next to a fork, an interrupt comes again a moment later."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return

    def interrupt() -> None:
        time.sleep(_AGAIN_S)
        _thread.interrupt_main()

    _thread.start_new_thread(interrupt, ())


if __name__ == "__main__":
    main()
