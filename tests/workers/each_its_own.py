"""The training command on several ranks that begin differently: a folder, a changed module, and arguments for each.

python tests/workers/each_its_own.py '[{"cwd": ..., "arguments": [...], "version": null}, ...]'
"""

import json
import os
import sys
from importlib.metadata import version
from unittest.mock import patch

from wdstream.train.__main__ import main

if __name__ == "__main__":
    mine = json.loads(sys.argv[1])[int(os.environ["RANK"])]
    os.chdir(mine["cwd"])
    other = {"torch": mine["version"]} if mine["version"] else {}
    with patch("wdstream.runs.record.version", lambda name: other.get(name) or version(name)):
        sys.exit(main(mine["arguments"]))
