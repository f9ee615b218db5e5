"""The three packages have the same classes, functions, attributes and docstrings in the same order."""

import ast
from pathlib import Path

import pytest

PACKAGES = ("se_torch", "se_tf", "se_flax")

OWN = {
    # A state dict has room for the architecture of its model; symbolic tracing leaves out the checks; layers can be
    # replaced, also the classifier; its dropout has no masks of a given shape; only it can compute in place.
    "se_torch": {
        "add_architecture",
        "before",
        "can_overwrite",
        "DropPath",
        "EmptyLinear",
        "expect_dtype",
        "extra_repr",
        "load_state_dict",
        "__setstate__",
        "kept_statistics",
        "weight_dtype",
        "outputs",
        "SEDenseLayer.relu",
    },
    # How Keras saves and clones; padding is explicit, and narrow groups are merged for XLA.
    "se_tf": {
        *("build", "compute_output_shape", "get_config", "from_config", "save_own_variables", "load_own_variables"),
        *(
            "Network.load_weights",
            "get_compile_config",
            "Convolution",
            "BatchNorm",
            "EmptyDense",
            "padded",
            "padded_shape",
        ),
    },
    # NNX is slow to initialise weights that will be replaced, and keeps the random state of dropout; experimental
    # options of XLA come and go.
    "se_flax": {
        *("empty_model", "without_values", "weight_dtype", "dropout", "accepted_options"),
        *("compiled_call", "BatchNorm", "outputs", "rectified"),
    },
}
"""Classes, functions and methods that only one framework needs; a method after its class where a function has its
name."""

FUNCTIONAL = {"stem", "head", "architecture", "reset_classifier", "forward_features"}
"""Methods of a network that a functional Keras model has as layers instead, or that differ since its graph is fixed: a
new classifier makes a new model."""

OWN_ATTRIBUTES = {
    *("bias", "block", "dtype_policy", "zero_init_residual", "deep_stem", "strided_stem", "names", "out_channels"),
    *("momentum", "num_batches_tracked", "updates_statistics", "kernel_size", "training"),
}
"""Attributes that only Keras needs, for its configuration, or only PyTorch, for TorchScript; a ModuleDict has names;
each framework has its own way not to update running statistics twice, and PyTorch alone has a mode to be restored."""

FORWARD = {"forward", "call", "__call__"}


def outline(package: str, file: str) -> list[str]:
    source = (Path(__file__).parents[2] / package / file).read_text()
    lines = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name not in OWN[package]:
            lines.append(f"class {node.name}: {first_line(node)}")
            for method in node.body:
                if not isinstance(method, ast.FunctionDef) or method.name in FUNCTIONAL:
                    continue
                if not {method.name, f"{node.name}.{method.name}"} & OWN[package]:
                    lines.append(
                        f"  {node.name}.{'forward' if method.name in FORWARD else method.name}: {first_line(method)}"
                    )
                    lines += [f"    self.{name}" for name in attributes(method)]
        elif isinstance(node, ast.FunctionDef) and node.name not in OWN[package] and not node.name.startswith("_"):
            lines.append(f"def {node.name}: {first_line(node)}")
    return lines


def first_line(node: ast.ClassDef | ast.FunctionDef) -> str:
    """The docstring's first line, with images in one order of axes."""
    text = (ast.get_docstring(node) or "").partition("\n")[0]
    text = text.replace("(N, H, W, C)", "(N, C, H, W)").partition(". Keras's own")[0]
    return text.partition(", in evaluation")[0].partition(", with Keras")[0].rstrip(".")


def attributes(method: ast.FunctionDef) -> list[str]:
    targets = [target for node in ast.walk(method) if isinstance(node, ast.Assign) for target in node.targets]
    names = [target.attr for target in targets if isinstance(target, ast.Attribute)]
    return [name for name in names if name not in OWN_ATTRIBUTES]


@pytest.mark.parametrize(
    "file",
    [
        "se_layer.py",
        "eca_layer.py",
        "layers.py",
        "network.py",
        "se_resnet.py",
        "preactivation.py",
        "shortcut.py",
        "se_densenet.py",
        "families.py",
        "registry.py",
        "weights.py",
        "inference.py",
    ],
)
def test_the_three_model_files_have_the_same_outline(file):
    torch, keras, flax = (outline(package, file) for package in PACKAGES)
    assert torch == keras
    assert torch == flax
    assert torch


def test_the_three_packages_export_the_same_names():
    texts = [(Path(__file__).parents[2] / package / "__init__.py").read_text() for package in PACKAGES]
    exports = [text.partition("__all__")[2] for text in texts]
    assert exports[0] == exports[1] == exports[2]
    assert "from_file" in exports[0]
