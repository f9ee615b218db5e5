"""A network is trained in one framework, saved as its users do, and converted to the other two and back."""

from pathlib import Path

import numpy as np
import pytest

import se_weights
from parity_tests.support.cases import skip_without, small_network
from parity_tests.support.frameworks import flax_rngs
from parity_tests.support.isolated_process import se_resnet
from parity_tests.support.tolerances import FLOAT32_LOGITS
from se_parity import Oracle, compare

pytestmark = [pytest.mark.sweep, skip_without("torch"), skip_without("tf"), skip_without("flax")]

STEPS = 10
NETWORK = small_network().architecture.replace(
    stride_in="conv1", stem={"pool": "ceil"}, squeeze={"bias": True}, num_classes=3
)
"""With settings that no tensor shows, which must survive every way."""

IMAGES = np.random.default_rng(0).normal(size=(6, 3, 33, 40)).astype(np.float32)
LABELS = np.arange(6) % 3


def trained_in_torch(folder: Path) -> tuple[Path, np.ndarray]:
    """With torch.optim.SGD; a checkpoint of the model, the optimizer and the epoch by torch.save."""
    import torch

    import se_torch

    torch.manual_seed(0)
    model = se_torch.SEResNet(NETWORK)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.from_numpy(IMAGES)), torch.from_numpy(LABELS)).backward()
        optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}
    torch.save(content, folder / "checkpoint.pth")
    with torch.inference_mode():
        return folder / "checkpoint.pth", model.eval()(torch.from_numpy(IMAGES)).numpy()


def trained_in_keras(folder: Path) -> tuple[Path, np.ndarray]:
    """With compile and fit; ModelCheckpoint saves the weights, those of the optimizer with them."""
    import keras

    import se_tf

    keras.utils.set_random_seed(0)
    model = se_tf.SEResNet(NETWORK)
    model.compile(keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.moveaxis(IMAGES, 1, -1)
    path = folder / "best.weights.h5"
    callback = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model.fit(images, LABELS, batch_size=6, epochs=STEPS, verbose=0, callbacks=[callback])
    return path, np.asarray(model(images, training=False))


def trained_in_flax(folder: Path) -> tuple[Path, np.ndarray]:
    """With nnx.Optimizer; a CheckpointManager of Orbax saves the state of the model and of the optimizer."""
    import optax
    import orbax.checkpoint as ocp
    from flax import nnx

    import se_flax

    model = se_flax.SEResNet(NETWORK, rngs=flax_rngs())
    model.train()
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, momentum=0.9), wrt=nnx.Param)
    images = np.moveaxis(IMAGES, 1, -1)
    for _ in range(STEPS):

        def loss(network: nnx.Module):
            return optax.softmax_cross_entropy_with_integer_labels(network(images), LABELS).mean()

        optimizer.update(model, nnx.grad(loss)(model))
    states = {"model": nnx.state(model), "optimizer": nnx.state(optimizer)}
    with ocp.CheckpointManager(folder / "run") as manager:
        items = {name: ocp.args.StandardSave(state) for name, state in states.items()}
        manager.save(STEPS, args=ocp.args.Composite(**items))
    model.eval()
    return folder / "run", np.asarray(model(images))


TRAINED = {"torch": trained_in_torch, "keras": trained_in_keras, "flax": trained_in_flax}
TARGETS = {"torch": "a.pth", "keras": "a.weights.h5", "flax": "a.msgpack"}
HIDDEN = "inferred:stride_in=conv1,stem.pool=ceil"
"""The answer for Flax, whose files cannot hold the settings."""


@pytest.mark.parametrize("framework", TRAINED)
def test_a_network_trained_in_one_framework_gives_its_logits_in_the_others_and_back(tmp_path, framework):
    source, logits = TRAINED[framework](tmp_path)
    options = ["--architecture", HIDDEN] if framework == "flax" else []
    for other, name in TARGETS.items():
        if other == framework:
            continue
        there, back = tmp_path / other / name, tmp_path / other / f"back-{TARGETS[framework]}"
        there.parent.mkdir()
        for command in (["convert", source, there, *options], ["convert", there, back]):
            result = se_resnet(*command)
            assert result.returncode == 0, result.stderr
        for path in (there, back):
            checkpoint = se_weights.read(path)
            assert checkpoint.architecture.function_key() == NETWORK.function_key()
            found = Oracle(checkpoint.architecture, checkpoint.weights).logits(IMAGES.astype(np.float64))
            assert compare(found, logits).share <= FLOAT32_LOGITS
