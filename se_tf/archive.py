"""Writes a model as Keras's own `.keras` archive: `python -m se_tf.archive weights.safetensors model.keras`.

Run by se_weights in a process of its own, so that converting never imports Keras into the caller's.
"""

import sys

from se_tf.weights import from_file


def main(source: str, target: str) -> None:
    from_file(source).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
