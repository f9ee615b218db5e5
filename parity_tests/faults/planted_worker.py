"""A parity worker with a planted fault, whose name is in the environment variable PLANTED.

`python -m parity_tests.faults.planted_worker FRAMEWORK DEVICE`
"""

import os
import sys

from parity_tests.faults.antialias_mutants import ANTIALIAS_MUTANTS
from parity_tests.faults.densenet_mutants import DENSENET_MUTANTS
from parity_tests.faults.mutants import MUTANTS
from parity_tests.faults.training_mutants import TRAINING_MUTANTS
from se_parity.run.server import main

if __name__ == "__main__":
    (MUTANTS | ANTIALIAS_MUTANTS | DENSENET_MUTANTS | TRAINING_MUTANTS)[os.environ["PLANTED"]].plant()
    main(*sys.argv[1:])
