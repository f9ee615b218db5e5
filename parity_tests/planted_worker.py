"""A worker with a fault in it, whose name PLANTED holds: `python -m parity_tests.planted_worker FRAMEWORK DEVICE`."""

import os
import sys

from parity_tests.mutants import MUTANTS
from parity_tests.training_mutants import TRAINING_MUTANTS
from se_parity.worker import main

if __name__ == "__main__":
    (MUTANTS | TRAINING_MUTANTS)[os.environ["PLANTED"]].plant()
    main(*sys.argv[1:])
