"""The commands around a run: what `launch` refuses before any process begins."""

import pytest

from tests.helpers.command import run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.yaml",), "none.yaml: cannot read the configuration"),
        (("--multi_gpu", "--num_processes", "2", "none.yaml", "--set", "train.lr=1"), "none.yaml: cannot read"),
        (("--multi_gpu",), "the configuration file comes last"),
        ((), "the configuration file comes last"),
        (("cfg.yaml", "--num_processes", "1"), "the configuration file comes last"),
        (("-m", "wdstream.train", "cfg.yaml"), "leave out -m wdstream.train"),
        (("s3://bucket/cfg.yaml",), "is a URL"),
    ],
)
def test_launch_begins_with_a_configuration_that_can_be_read(words: tuple[str, ...], said: str) -> None:
    done = run("launch", *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
