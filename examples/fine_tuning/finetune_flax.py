"""Fine-tunes a network on the digits in Flax NNX: `python finetune_flax.py WEIGHTS OUT [EPOCHS]`."""

import sys

import jax.numpy as jnp
import numpy as np
import optax
from data import digits
from flax import nnx
from jax import Array

import se_flax

BATCH = 64


@nnx.jit
def train_step(model: nnx.Module, optimizer: nnx.Optimizer, images: Array, labels: Array) -> Array:
    def loss_of(model: nnx.Module) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def predict(model: nnx.Module, images: Array) -> Array:
    return model(images).argmax(1)


def main(weights: str, out: str, epochs: int = 3) -> None:
    rng = np.random.default_rng(0)
    images, test_images, labels, test_labels = digits("NHWC")
    model = se_flax.from_file(weights, num_classes=10)  # starts a new classifier
    steps = epochs * (len(images) // BATCH)
    rate = optax.warmup_cosine_decay_schedule(2e-4, 2e-3, steps // 4, steps)
    optimizer = nnx.Optimizer(model, optax.adamw(rate, weight_decay=0.05), wrt=nnx.Param)
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[begin : begin + BATCH]
            train_step(model, optimizer, jnp.asarray(images[chosen]), jnp.asarray(labels[chosen]))
    model.eval()
    accuracy = float((predict(model, jnp.asarray(test_images)) == jnp.asarray(test_labels)).mean())
    print(f"accuracy {accuracy:.4f}")
    se_flax.save(model, out, force=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
