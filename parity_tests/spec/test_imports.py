"""Which modules an import loads, tested in a separate process."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from parity_tests.support.cases import skip_without
from se_cli.subcommands import SUBCOMMANDS

HEAVY = {"torch", "tensorflow", "keras", "jax", "flax"}

IMPORTS = [
    ("se_resnet", set()),
    ("se_spec", set()),
    ("se_weights", set()),
    ("se_parity", set()),
    ("se_demo.run", set()),
    ("se_cli.main", set()),
    ("se_cli.statuses", set()),
    *((f"se_cli.commands.{name}", set()) for name in SUBCOMMANDS),
    pytest.param("se_torch", {"torch"}, marks=skip_without("torch")),
    pytest.param("se_tf", {"tensorflow", "keras"}, marks=skip_without("tf")),
    pytest.param("se_flax", {"jax", "flax"}, marks=skip_without("flax")),
]

LIGHT = {"numpy", "h5py", "safetensors", "rich", "msgpack", "matplotlib", "sklearn", "jinja2"} | HEAVY


def modules_after(statement: str) -> set[str]:
    """Top-level modules in sys.modules after a statement."""
    script = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=quiet())
    return set(ran.stdout.split())


def quiet() -> dict[str, str]:
    return {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.parametrize(("module", "frameworks"), IMPORTS)
def test_importing_a_module_imports_no_other_framework(module, frameworks):
    imported = modules_after(f"import {module}") & HEAVY
    # Keras and TensorFlow import JAX themselves where it is installed.
    assert imported - ({"jax", "flax"} if "keras" in frameworks else set()) == frameworks


def test_se_spec_imports_only_the_standard_library():
    imported = modules_after("import se_spec") - modules_after("pass")
    assert {name for name in imported if name not in sys.stdlib_module_names} == {"se_spec"}


def test_help_imports_no_framework_and_no_heavy_library():
    script = (
        "import sys; from se_cli.main import main; main(['--help'], standalone_mode=False); print('ALL', *sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in ran.stdout.partition("ALL")[2].split()}
    assert names & LIGHT == set()


def test_converting_between_files_imports_no_framework(tmp_path):
    script = f"""
import sys
import se_weights
from parity_tests.support.cases import small_network
from pathlib import Path
folder = Path({str(tmp_path)!r})
suffixes = ['.pth', '.safetensors', '.weights.h5', '.msgpack', '.npz', '.pt']
se_weights.write(small_network().checkpoint, folder / 'a.npz')
for one in suffixes:
    for other in suffixes:
        source = folder / ('a' + one)
        if not source.exists():
            se_weights.convert(folder / 'a.npz', source)
        se_weights.convert(source, folder / ('b' + other), force=True)
print(*sorted(set({sorted(HEAVY)}) & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_se_resnet_tells_versions_and_packages():
    import se_resnet
    import se_spec

    assert se_resnet.versions()["se_resnet"] == se_spec.__version__
    assert set(se_resnet.versions()) == {"se_resnet", *se_resnet.DISTRIBUTIONS}
    for package in se_resnet.PACKAGES:
        assert find_spec(package)
