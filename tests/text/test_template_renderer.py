"""A hostile chat template ends its own process, and the message says of what it wanted too much.

Spans: text.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_until
from wdstream.text import template_renderer
from wdstream.text.template_renderer import Answer, TemplateRenderer

MEMORY = "1024 MB of memory"
TIME = "1 seconds of CPU time"
DEPTH = "1000 calls inside of calls"
LONG = "4,194,304 characters of output"

ADDRESS = "it writes where an object is in memory, which differs from process to process"

DOUBLED = "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
TREE = (
    "{% macro f(n) %}{% for i in range(99) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endfor %}{% endmacro %}{{ f(99) }}"
)
NESTED = "{% for a in range(9999) %}" * 6 + "x" + "{% endfor %}" * 6
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}{% endfor %}"
HOSTILE = {
    "{{ 'x' * 10 ** 10 }}": MEMORY,
    "{{ 'x' * 10 ** 8 }}": LONG,
    DOUBLED: MEMORY,
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}": MEMORY,
    "{{ 'x'.ljust(10 ** 11) }}": MEMORY,
    "{{ '%9999999999d' % 1 }}": MEMORY,
    "{{ '{:>9999999999}'.format('x') }}": MEMORY,
    "{{ 'x' | center(10 ** 11) }}": MEMORY,
    "{{ ('a,' * 10 ** 6).split(',') | join('b' * 10 ** 6) }}": MEMORY,
    NESTED: TIME,
    "{{ 9 ** (9 ** 9) }}": TIME,
    LOOPS: TIME,
    "{{ ('a' * 60000) | replace('a', 'a' * 60000) | length }}": MEMORY,
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}": DEPTH,
    TREE: TIME,
    "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}": DEPTH,
}


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    renderer = TemplateRenderer(cpu_seconds=1)
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def patient() -> Iterator[TemplateRenderer]:
    """Meets its other limits first, however slow the machine is."""
    renderer = TemplateRenderer(cpu_seconds=60)
    yield renderer
    renderer.close()


SLOW = {NESTED, LOOPS, TREE}
"""Each takes its second or two of CPU time; one power, which nothing in Python could interrupt, meets that limit in
every run."""


@pytest.mark.parametrize(
    "source",
    [pytest.param(source, marks=[pytest.mark.slow] * (source in SLOW)) for source in HOSTILE],
    ids=lambda source: source[:40],
)
def test_a_hostile_template_meets_a_limit(source: str, renderer: TemplateRenderer, patient: TemplateRenderer) -> None:
    chosen = renderer if HOSTILE[source] == TIME else patient
    answer = chosen.render(source, {})
    assert (answer.kind, answer.text) == ("limit", HOSTILE[source])
    assert chosen.render("{{ x }}", {"x": "sound"}) == Answer(kind="text", text="sound")


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("{{ range(10 ** 6) }}", "refused", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."),
        ("{{ raise_exception('no tools') }}", "refused", "no tools"),
        ("{{ ''.__class__.__mro__ }}", "refused", "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ [1] | random }}", "unreadable", "No filter named 'random'."),
        ("{{ lipsum() }}", "refused", "'lipsum' is undefined"),
        ("{{ strftime_now('%d') }}", "refused", "'strftime_now' is undefined"),
        ("{{ 1 / 0 }}", "refused", "division by zero"),
        ("{{ raise_exception('two\\n  lines') }}", "refused", "two lines"),
        ("{{ {}.items }}", "refused", f"{ADDRESS}: <built-in method items of dict object>"),
        ("{{ [1] | map('string') ~ '' }}", "refused", f"{ADDRESS}: <generator object sync_do_map>"),
        ("{{ raise_exception }}", "refused", f"{ADDRESS}: <function _environment.<locals>.refuse>"),
        ("{{ ['<a at 0x >', 'a', 'b'] | unique | join }}", "text", "<a at 0x >ab"),
        ("{% include 'x' %}", "refused", "no loader for this environment specified"),
        ("{% for %}", "unreadable", "Expected an expression, got 'end of statement block'"),
        ("{{ '\\x1b[2J' }}", "text", "\x1b[2J"),
    ],
)
def test_what_a_template_may_not(source: str, kind: str, text: str, renderer: TemplateRenderer) -> None:
    answer = renderer.render(source, {})
    assert (answer.kind, answer.text) == (kind, text)


@pytest.mark.parametrize(
    "source", ["{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "{% if x %}" * 3000, "{{ " + "-" * 9000 + "1 }}"]
)
def test_a_template_that_is_nested_too_deep(source: str, renderer: TemplateRenderer) -> None:
    assert renderer.render(source, {}).kind in ("limit", "unreadable", "refused")
    assert renderer.render("{{ x }}", {"x": 1}).text == "1"


def test_many_threads_and_forked_processes_share_it() -> None:
    renderer = TemplateRenderer()
    with ThreadPoolExecutor(8) as pool:
        assert [answer.text for answer in pool.map(lambda n: renderer.render("{{ n }}", {"n": n}), range(200))] == [
            str(n) for n in range(200)
        ]
    script = (
        "import os, sys\n"
        "from wdstream.text.template_renderer import RENDERER\n"
        "RENDERER.render('{{ 1 }}', {})\n"
        "pid = os.fork()\n"
        "texts = [RENDERER.render('{{ n }}', {'n': n + (pid == 0) * 1000}).text for n in range(50)]\n"
        "assert texts == [str(n + (pid == 0) * 1000) for n in range(50)]\n"
        "sys.exit(os.waitpid(pid, 0)[1] if pid else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    renderer.close()


def test_a_process_that_was_killed_is_started_again() -> None:
    renderer = TemplateRenderer()
    assert renderer.render("{{ 1 }}", {}).text == "1"
    process = renderer._process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert renderer.render("{{ 1 }}", {}).text == "the memory that the system has left (its process was killed)"
    assert renderer.render("{{ 1 }}", {}).text == "1"
    renderer.close()
    assert renderer._process is None and process.returncode == -signal.SIGKILL


def test_nothing_outlives_its_process() -> None:
    """A program that is killed while a template runs: the pipe to it breaks, or the limit of time ends it."""
    script = (
        "import os, signal\n"
        "from wdstream.text.template_renderer import RENDERER\n"
        "RENDERER.render('{{ 1 }}', {})\n"
        "print(RENDERER._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    pid = int(done.stdout)
    stat = Path(f"/proc/{pid}/stat")

    def has_ended() -> bool:
        try:
            return stat.read_text().rpartition(")")[2].split()[0] == "Z"  # nobody waits for it, but it is over
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(has_ended, "the end of the process that renders")


def test_what_comes_byte_by_byte_has_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_renderer, "WAIT_SECONDS", 1.0)
    reading, writing = os.pipe()
    is_read = threading.Event()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            for _ in range(200):
                stream.write(b"x")
                if is_read.wait(0.05):
                    break
            stream.write(b"\n")

    with os.fdopen(reading, "rb", buffering=0) as stream, ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        assert template_renderer._read_line(stream) is None
        is_read.set()
        written.result()
