"""Environments other than the development one: each extra alone, and the real peers."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True

ALONE = {"torch": "torch", "tf": "tensorflow", "flax": "flax"}


SUITE = ["spec", "se_layer", "models", "files", "command_line", "imports"]
"""What an extra alone must pass; tests of the other frameworks skip themselves."""

EXAMPLE = """
import {package}
from se_weights import Checkpoint, weights_sha256, write
model = {package}.create_model("se_resnet20_cifar")
write(Checkpoint(model.architecture, {package}.read_weights(model)), "model.safetensors", force=True)
again = {package}.from_file("model.safetensors")
assert weights_sha256({package}.read_weights(again)) == weights_sha256({package}.read_weights(model))
"""


@nox.session(python="3.11")
@nox.parametrize("extra", list(ALONE))
def alone(session: nox.Session, extra: str) -> None:
    """The package with one extra, and nothing of the other two frameworks."""
    session.install("--constraint", "constraints.txt", f".[{extra},test]")
    present = "; ".join(f"assert bool(find_spec({package!r})) is {name == extra}" for name, package in ALONE.items())
    session.run("python", "-c", f"from importlib.util import find_spec; {present}")
    with session.chdir(session.create_tmp()):  # away from the sources: the wheel itself must hold everything
        session.run("se-resnet", "list", "se_*")
        session.run("python", "-c", EXAMPLE.format(package=f"se_{extra}"))
    session.run("pytest", "-q", *(f"parity_tests/test_{name}.py" for name in SUITE))


@nox.session(python="3.11")
def peers(session: nox.Session) -> None:
    """timm and torchvision themselves make checkpoints, and ours must give their logits."""
    session.install("torch==2.14.1", "torchvision==0.29.1", "timm==1.0.31", "numpy==2.4.6")
    session.install("--no-deps", ".")
    needed = ["click", "h5py", "ml-dtypes", "msgpack", "pytest", "rich", "safetensors"]
    session.install("--constraint", "constraints.txt", *needed)
    session.run("pytest", "-q", "-p", "no:cacheprovider", "parity_tests/peers", "-c", "parity_tests/peers/pytest.ini")
