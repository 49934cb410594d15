"""Run as two processes by test_changes.py: each rank has another seed of the data. Arguments: those of training."""

import os
import sys

from wdstream.train.__main__ import main

sys.exit(main([*sys.argv[1:], "--set", f"data.seed={os.environ['RANK']}"]))
