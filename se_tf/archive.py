"""Writes a model as Keras's own `.keras` archive: `python -m se_tf.archive weights.safetensors model.keras`.

se_weights runs it in a separate process, so that converting never imports Keras into the caller's.
"""

import sys

import se_weights
from se_tf.families import new_model
from se_tf.weights import load_weights


def main(source: str, target: str) -> None:
    """Builds the model of a weights file, of the type of its weights, and saves it.

    Args:
        source: The weights file.
        target: The `.keras` file to write.
    """
    checkpoint = se_weights.read(source)
    (dtype,) = {array.dtype.name for array in checkpoint.weights.values()}
    model = new_model(checkpoint.architecture, dtype=dtype)
    load_weights(model, checkpoint.weights)
    model.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
