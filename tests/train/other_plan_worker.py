"""Run as two processes by test_two_ranks.py: each rank has another seed of the data. Arguments: those of training."""

import os
import sys

from wdstream.train.__main__ import main

sys.exit(main([*sys.argv[1:], "--set", f"data.seed={os.environ['RANK']}"]))
