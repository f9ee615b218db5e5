"""Runs qubvel's image-classifiers and tfimm under Keras 2, in a separate environment that `nox -s peers` makes.

`python keras_peers.py` reads one JSON request a line. It builds the named model with the code of the peer, gives it
trained-like weights, saves it as its users do, and saves its outputs. No package of this project is imported.
"""

import json
import os
from pathlib import Path

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

import numpy as np
import published
import tf_keras
from classification_models.tfkeras import Classifiers
from serving import answer_requests

MADE_BEFORE = 3
"""Number of layers that the session makes before the model, so that Keras's counters do not begin at 0."""


def qubvel(name):
    """The model, and the same one without its softmax."""
    model = Classifiers.get(name)[0](input_shape=(None, None, 3), weights=None, classes=1000)
    return model, tf_keras.Model(model.input, model.layers[-2].output)


def tfimm(name):
    import tfimm

    model = tfimm.create_model(name)
    return model, model


BUILDERS = {"qubvel": qubvel, "tfimm": tfimm}


def make_trained_like(model, images):
    """Set gains as after training, small in the last norm of each branch; measure the statistics, then perturb them."""
    rng = np.random.default_rng(0)
    layers = [layer for layer in model._flatten_layers() if layer.weights]
    norms = [layer for layer in layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    for layer in layers:
        if isinstance(layer, tf_keras.layers.Conv2D | tf_keras.layers.Dense):
            kernel, *bias = layer.get_weights()
            drawn = rng.normal(0, np.sqrt(2 / np.prod(kernel.shape[:-1])), kernel.shape)
            layer.set_weights([drawn, *(rng.normal(0, 0.2, one.shape) for one in bias)])
    for layer in norms:
        channels = layer.beta.shape
        low, high = (0.1, 0.4) if is_last(layer) else (0.5, 1.5)
        gain = [rng.uniform(low, high, channels)] if layer.scale else []
        layer.set_weights([*gain, rng.normal(0, 0.2, channels), *layer.get_weights()[-2:]])
    measure(model, norms, images, rng)


def is_last(norm):
    """Whether a norm is the last of its branch: neither a ReLU nor the sum follows it, or it is tfimm's third."""
    following = [node.layer for node in norm.outbound_nodes]
    elsewhere = tf_keras.layers.Activation, tf_keras.layers.Add
    return (following and not any(isinstance(layer, elsewhere) for layer in following)) or norm.name == "bn3"


def measure(model, norms, images, rng):
    """One pass in training mode with momentum 0 leaves the statistics of the batch."""
    momentum = norms[0].momentum
    for layer in norms:
        layer.momentum = 0.0
    model(images, training=True)
    for layer in norms:
        layer.momentum = momentum
        *learned, mean, variance = layer.get_weights()
        mean = mean + 0.05 * np.sqrt(variance) * rng.normal(size=mean.shape)
        layer.set_weights([*learned, mean, variance * 2 ** rng.uniform(-1, 1, variance.shape)])


def answer(request):
    if "published" in request:
        Path(request["published"]).write_text(json.dumps(published.list_published("keras")))
        return
    family, _, name = request["case"].partition(" ")
    for _ in range(MADE_BEFORE):
        tf_keras.layers.Conv2D(1, 1)
    images = [np.moveaxis(array, 1, -1) for array in np.load(request["images"]).values()]
    model, logits = BUILDERS[family](name)
    rng = np.random.default_rng(1)
    batch = np.repeat(images[0][:1], 2, axis=0)
    make_trained_like(model, (batch + 0.3 * rng.normal(size=batch.shape)).astype("float32"))
    if request["weights"].endswith(".model.h5"):
        model.save(request["weights"])
    else:
        model.save_weights(request["weights"])
    outputs = {f"float32 {number}": logits(image, training=False).numpy() for number, image in enumerate(images)}
    np.savez(request["outputs"], **outputs)
    tf_keras.backend.clear_session()


if __name__ == "__main__":
    answer_requests(answer)
