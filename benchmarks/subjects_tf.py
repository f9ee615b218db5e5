"""Subjects in Keras on TensorFlow: our models and the plain functional model."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

import se_spec
import se_tf
from benchmarks.plain_keras import plain_model
from benchmarks.workload import THREADS, Workload
from se_tf.inference import fold_batchnorm, optimize_for_inference

Step = Callable[[], object]


def configure() -> dict[str, str]:
    """Set up the framework, and return the versions of its libraries."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    return {"tensorflow": tf.__version__, "keras": keras.__version__}


def our_model(workload: Workload) -> keras.Model:
    return se_tf.create_model(workload.network)


def model_without_se(workload: Workload) -> keras.Model:
    return se_tf.create_model(workload.network.removeprefix("se_"))


def peer_model(workload: Workload) -> keras.Model:
    return plain_model(se_spec.architecture(workload.network))


def images(workload: Workload) -> tf.Tensor:
    shape = workload.batch, workload.side, workload.side, 3
    return tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))


def forward(model: keras.Model, workload: Workload, *, xla: bool = False) -> Step:
    function, inputs = tf.function(lambda x: model(x, training=False), jit_compile=xla), images(workload)
    return lambda: function(inputs).numpy()


def deployed(workload: Workload, dtype: str | None = None) -> Step:
    function, inputs = optimize_for_inference(our_model(workload), dtype=dtype), images(workload)
    return lambda: np.asarray(function(inputs))


def training(model: keras.Model, workload: Workload) -> Step:
    """One training step of SGD with momentum, in graph mode."""
    inputs, labels = images(workload), tf.range(workload.batch)
    model.compile(
        keras.optimizers.SGD(0.01, 0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    return lambda: model.train_on_batch(inputs, labels)


def compilation(workload: Workload) -> Step:
    """Trace, compile and run the model once, from scratch at every step."""
    model, inputs = our_model(workload), images(workload)
    return lambda: tf.function(lambda x: model(x, training=False), jit_compile=True)(inputs).numpy()


SUBJECTS: dict[str, Callable[[Workload], Step]] = {
    "plain Keras graph": lambda w: forward(peer_model(w), w),
    "plain Keras XLA": lambda w: forward(peer_model(w), w, xla=True),
    "plain Keras training": lambda w: training(peer_model(w), w),
    "Keras graph": lambda w: forward(our_model(w), w),
    "Keras graph without SE": lambda w: forward(model_without_se(w), w),
    "Keras XLA": lambda w: forward(our_model(w), w, xla=True),
    "Keras folded graph": lambda w: forward(fold_batchnorm(our_model(w)), w),
    "Keras folded XLA": lambda w: forward(fold_batchnorm(our_model(w)), w, xla=True),
    "Keras deployed": deployed,
    "Keras deployed in bfloat16": lambda w: deployed(w, "bfloat16"),
    "Keras training": lambda w: training(our_model(w), w),
    "Keras compiling": compilation,
}
