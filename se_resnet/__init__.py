"""Squeeze-and-Excitation networks in PyTorch, Keras and Flax: where to start.

The models are in one package a framework, which is imported on its own, so that no other framework is needed.
"""

from importlib.metadata import PackageNotFoundError, version

from se_spec.version import __version__ as __version__

PACKAGES = {
    "se_torch": "the models as torch.nn.Module",
    "se_tf": "the models in Keras 3",
    "se_flax": "the models in Flax NNX",
    "se_weights": "reads, converts and writes weights files of every framework",
    "se_spec": "what a network is: its architecture, parameters and cost",
    "se_parity": "runs the three frameworks side by side and compares them",
}
"""The packages of this distribution, and what each is for."""

DISTRIBUTIONS = ("torch", "keras", "tensorflow", "flax", "jax")
"""The frameworks, by the names under which pip installs them; tensorflow-cpu is the same module."""


def versions() -> dict[str, str | None]:
    """The version of this distribution and of each framework; None where a framework is not installed.

    No framework is imported.
    """
    return {"se_resnet": __version__, **{name: _version(name) for name in DISTRIBUTIONS}}


def _version(name: str) -> str | None:
    for distribution in (name, f"{name}-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None
