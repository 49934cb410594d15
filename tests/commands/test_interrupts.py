"""An interrupt while the command's own modules are imported, which takes half a second, ends it without a traceback.

Spans: commands
"""

import signal
import subprocess
import sys

INTERRUPTED = """
import os, signal, sys

class Interrupts:  # where the import of typer begins
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from wdstream.__main__ import main
sys.argv = ["wdstream", "--help"]
main()
"""


def test_an_interrupt_while_modules_are_imported() -> None:
    # Where the tests run in the background of a shell, interrupts are ignored from the start.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + INTERRUPTED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (-signal.SIGINT, "", "")


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "make-shards" in done.stdout) == (0, True)
