"""`wdstream launch`: `accelerate launch` with signals that arrive, time for the checkpoint, and a true exit status.

By itself `accelerate launch` of one process dies of a signal and passes none on; that of several, and torchrun, pass
some of them on, kill their processes 30 s later whatever they are writing, and end with status 1 for a mere stop. Here
the launcher runs in a session of its own, where neither Ctrl-C nor a scheduler finds it. A signal to this process goes
to the training processes themselves, to each once it can take it; this process waits until all have ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import psutil

from wdstream.errors import ConfigError, TrainError
from wdstream.raw.children import signal_with_parent
from wdstream.storage.processes import kill_tree
from wdstream.text.characters import printable
from wdstream.train.launch.signals import ECHO_SECONDS, CaughtSignals
from wdstream.train.launch.statuses import FOLDER_VARIABLE, LOST, Ended, LaunchFolder, read_ends, read_processes

_POLL_S = 0.1
_USAGE_ERROR = 2  # of argparse
_UNSAID = "without saying how (killed, such as for want of memory, or a fault: its traceback is above)"


def launch(options: Sequence[str], arguments: Sequence[str], *, limit_s: float | None = None) -> int:
    """Start training through `accelerate launch`, and wait for its end.

    Args:
        options: of `accelerate launch`.
        arguments: of the training command: the configuration file, and overrides.
        limit_s: seconds from the first signal on after which all processes are killed; None waits for the checkpoint
            however long that takes.

    Returns:
        The exit status of the training processes.

    Raises:
        TrainError: they ended without saying how, or were killed.
    """
    accelerate = [sys.executable, "-m", __name__, *options]
    return start_launcher([*accelerate, "-m", "wdstream.train", *arguments], limit_s=limit_s)


def run_accelerate() -> None:
    """`accelerate launch` with the options of this process, after they are known to be followed (options.py)."""
    from accelerate.commands.launch import launch_command, launch_command_parser  # slow: it imports torch

    from wdstream.train.launch.options import check_options

    parser = launch_command_parser()
    options = parser.parse_args()
    try:
        check_options(parser, options)
    except ConfigError as error:
        LaunchFolder.of(os.environ).tell_end(Ended(how="failed", status=_USAGE_ERROR, reason=str(error)))
        raise SystemExit(_USAGE_ERROR) from None
    launch_command(options)


def start_launcher(command: Sequence[str], *, limit_s: float | None) -> int:
    """`launch` of any command whose processes use a LaunchFolder."""
    with TemporaryDirectory(prefix="wdstream-launch-") as name:
        folder = Path(name)
        with ForwardedSignals(folder) as signals:
            process = subprocess.Popen(
                command,
                env={**os.environ, FOLDER_VARIABLE: name},
                start_new_session=True,
                preexec_fn=_prepare_launcher,
            )
            while signals.living() or process.poll() is None:
                signals.forward()
                if signals.is_over(limit_s):
                    kill_tree(process.pid)
                    signals.kill()
                    process.wait()
                    raise TrainError(f"training was killed{signals.why}; the newest checkpoint is as it was")
                time.sleep(_POLL_S)
        return end_status(folder, process.returncode, gone=signals.gone)


def end_status(folder: Path, launcher_status: int, gone: Sequence[str] = ()) -> int:
    """The status of the training processes: that of the first rank that failed, or else of all.

    A rank that failed because another one ended comes after those that say why, and after one that was killed. What
    they say counts, also where the launcher itself says something else: it may have got a signal, too. Why a rank
    failed is printed once more, after the traceback that the launcher makes of it.

    Args:
        folder: where the processes say how they are.
        launcher_status: of `accelerate launch`.
        gone: ranks in the order in which they ended: of several that say nothing the launcher closed all but the first.

    Raises:
        TrainError: one of them did not say how it ended, or none began.
        ConfigError: none began, as the launcher does not know an option.
    """
    ends = read_ends(folder)
    silent = read_processes(folder).keys() - ends.keys()
    failed = {rank: ended for rank, ended in ends.items() if ended.how == "failed"}
    if failed and not (silent and all(LOST in ended.reason for ended in failed.values())):
        first = min(failed, key=lambda rank: LOST in failed[rank].reason)
        before = [rank for rank in gone[: [*gone, first].index(first)] if rank in silent][:1]
        text = failed[first].reason + "".join(f"\nrank {rank} ended before it, {_UNSAID}" for rank in before)
        print(printable(f"wdstream launch: {text}"), file=sys.stderr, flush=True)
        return failed[first].status
    if not ends and not silent and launcher_status == _USAGE_ERROR:
        raise ConfigError("accelerate launch does not take these options; it says above which, and its --help has all")
    if silent or not ends:
        first_gone = [rank for rank in gone if rank in silent][:1] or sorted(silent, key=int)
        who = f"rank {', '.join(first_gone)} ended" if silent else "no training process began, or it ended"
        raise TrainError(
            f"{who} {_UNSAID}; "
            f"accelerate launch: status {launcher_status}; the same command continues from the newest checkpoint"
        )
    return next(iter(ends.values())).status


class ForwardedSignals(CaughtSignals):
    """While entered, what `StopSignals` of the training processes know goes to them.

    Args:
        folder: where they say who they are.

    Attributes:
        gone: ranks of processes that have ended, in the order in which that was seen.
        why: what ended the launch, for the user.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._received: list[int] = []
        self._times: list[float] = []
        self._sent: dict[int, int] = {}
        self._processes: dict[int, psutil.Process] = {}
        self.gone: list[str] = []
        self.why = ""

    def forward(self) -> None:
        """Send each training process what it has not got yet; one that begins later gets it then."""
        if not self._received:
            return
        for process in self.living():
            for number in self._received[self._sent.get(process.pid, 0) :]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            self._sent[process.pid] = len(self._received)

    def living(self) -> list[psutil.Process]:
        """The training processes that have not ended."""
        for rank, (pid, began) in read_processes(self._folder).items():
            if pid not in self._processes:
                with suppress(psutil.NoSuchProcess):
                    process = psutil.Process(pid)
                    if process.create_time() == began:
                        self._processes[pid] = process
            if rank not in self.gone and not (pid in self._processes and _is_alive(self._processes[pid])):
                self.gone.append(rank)
        return [process for process in self._processes.values() if _is_alive(process)]

    def is_over(self, limit_s: float | None) -> bool:
        """Whether the processes have had their time since the first signal, or there are none yet and it came twice."""
        if self._times and limit_s is not None and time.monotonic() - self._times[0] >= limit_s:
            self.why = f", as it had not ended {limit_s:g} s after the signal"
        elif self._times and not self._processes and self._times[-1] - self._times[0] >= ECHO_SECONDS:
            self.why = " before it began, by a second signal"
        return bool(self.why)

    def kill(self) -> None:
        """End the training processes whose launcher has ended before them."""
        for process in self.living():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        self._times.append(time.monotonic())


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _prepare_launcher() -> None:
    """In the launcher, before it begins: it ends when this process is killed; signals that would only kill it do not.

    A scheduler may signal every process of a job. SIGKILL, since a launcher of several that gets SIGTERM kills its
    processes 30 s later; at its end they get SIGTERM, and have all their time for the checkpoint.
    """
    signal_with_parent(signal.SIGKILL)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    run_accelerate()
