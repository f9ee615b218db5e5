"""A parity worker with a planted fault, whose name is in the environment variable PLANTED.

`python -m parity_tests.faults.planted_worker FRAMEWORK DEVICE`
"""

import os
import sys

from parity_tests.faults.mutants_table import ALL_MUTANTS
from parity_tests.faults.training_mutants import TRAINING_MUTANTS
from se_parity.run.server import main

if __name__ == "__main__":
    (ALL_MUTANTS | TRAINING_MUTANTS)[os.environ["PLANTED"]].plant()
    main(*sys.argv[1:])
