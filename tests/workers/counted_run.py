"""A training process that counts even few steps in the background, under a launcher that gives ranks alone."""

import os
import sys

from wdstream.train import setup
from wdstream.train.__main__ import main

os.environ.pop("LOCAL_WORLD_SIZE", None)
vars(setup).update(SMALL_COUNT=0)
sys.exit(main())
