"""Writes a model as Keras's own `.keras` archive: `python -m se_tf.archive weights.safetensors model.keras`.

se_weights runs it in a separate process, so that converting never imports Keras into the caller's.
"""

import sys

from se_tf.weights import from_file


def main(source: str, target: str) -> None:
    """Builds the model of a weights file, and saves it.

    Args:
        source: The weights file.
        target: The `.keras` file to write.
    """
    from_file(source).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
