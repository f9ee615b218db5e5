"""The accuracy on the digits of one file in each framework: `python accuracy.py WEIGHTS`."""

import sys
from importlib import import_module

from data import digits

FRAMEWORKS = ("se_torch", "se_tf", "se_flax")


def main(weights: str) -> None:
    _, test_images, _, test_labels = digits("NCHW")
    for package in FRAMEWORKS:
        logits = import_module(package).from_file(weights).predict_logits(test_images)
        print(f"{package} {(logits.argmax(1) == test_labels).mean():.4f}")


if __name__ == "__main__":
    main(sys.argv[1])
