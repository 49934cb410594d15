"""Run as two processes by test_changes.py: each rank has another seed of the data, and the check at the start does not
see it. Arguments: those of training."""

import os
import sys
from unittest.mock import patch

from wdstream.train.__main__ import main

with patch("wdstream.train.launch.same_start._differing", lambda ours, theirs: []):
    sys.exit(main([*sys.argv[1:], "--set", f"data.seed={os.environ['RANK']}"]))
