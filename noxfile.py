"""Environments other than the development one: each extra alone, and the real peers."""

import sys

import nox

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True

ALONE = {"torch": "torch", "tf": "tensorflow", "flax": "flax"}


SUITE = [
    *("spec/test_spec.py", "spec/test_imports.py"),
    *("models/test_se_layer.py", "models/test_models.py"),
    *("weights/test_files.py", "cli/test_command_line.py"),
]
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
    session.run("pytest", "-q", *(f"parity_tests/{name}" for name in SUITE))


@nox.session(python="3.11")
def peers(session: nox.Session) -> None:
    """The torch code bases that checkpoints come from make some, and ours must give their logits in every framework."""
    session.install("--requirement", "parity_tests/peers/torch_requirements.txt")
    session.install("--no-deps", *UNRESOLVED_TORCH)
    _with_peers(session, "torch")


@nox.session(python="3.11")
def keras_peers(session: nox.Session) -> None:
    """The same with the code bases of Keras 2."""
    session.install("--requirement", "parity_tests/peers/keras_requirements.txt")
    session.install("--no-deps", "--python-version", "3.10", *UNRESOLVED_KERAS)
    _with_peers(session, "keras")


UNRESOLVED_TORCH = ["mmpretrain==1.2.0"]
"""Asks for versions of the mm libraries that no longer install; its classes run without what is missing."""

UNRESOLVED_KERAS = ["tfimm==0.2.14"]
"""Says that it needs a Python before 3.11, and runs on 3.11."""


@nox.session(python="3.11")
def ray(session: nox.Session) -> None:
    """The example that runs a batch on a Ray cluster, on one of this machine."""
    session.install("--constraint", "constraints.txt", ".[test]")
    session.install("ray==2.60.0")
    session.run("pytest", "-q", "parity_tests/weights/test_fleet.py")


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """The readers in pure Python under atheris, which keeps what reaches new lines of them; 3.1.0 needs Python 3.12."""
    session.install("--constraint", "constraints.txt", ".")
    session.install("atheris==3.0.0")
    for reader in ("safetensors", "pth", "stacked", "npz", "msgpack"):
        session.run("python", "-m", "fuzz.atheris_reader", reader, *(session.posargs or ["-max_total_time=60"]))


@nox.session(python="3.11")
def torch_xla(session: nox.Session) -> None:
    """PyTorch under XLA, which needs a torch of its own: that mode under the interpreter of this environment."""
    session.install("torch==2.9.1", "torch_xla==2.9.0", "numpy", "safetensors", "ml-dtypes", "h5py", "msgpack")
    session.install("--no-deps", ".")
    matrix = ["parity", "se_resnet18", "--frameworks", "torch", "--modes", "eager,xla", "--size", "96x81"]
    python = ["--python", f"torch.xla={session.bin}/python"]
    session.run(sys.executable, "-m", "se_cli", *matrix, *python, *session.posargs, external=True)


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Speed beside timm, a plain Keras net and cp: torch in an environment with timm, the rest in nox's own."""
    session.install("--constraint", "parity_tests/peers/torch_requirements.txt", "timm", *WEIGHTS)
    python = f"torch={session.bin}/python"
    session.run(sys.executable, "-m", "benchmarks.conversion", external=True)
    session.run(sys.executable, "-m", "benchmarks", "--python", python, *session.posargs, external=True)


WEIGHTS = ["numpy", "safetensors", "ml-dtypes", "h5py", "msgpack"]
"""What se_weights needs."""


def _with_peers(session: nox.Session, framework: str) -> None:
    """Our side runs in the environment that nox itself is in, the peers' in the session's."""
    python = f"{session.bin}/python"
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "parity_tests/peers", f"--{framework}-peers", python]
    session.run(sys.executable, *command, "--timeout", "900", "-k", f"{framework}_peer", external=True)
