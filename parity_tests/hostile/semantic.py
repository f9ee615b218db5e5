"""Cases S1 to S13: well-formed files whose content is wrong, unusual or ambiguous."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import se_spec
from parity_tests.hostile.case import Case, Make, ValidFiles, Weights, accepted, convert, file_with
from parity_tests.hostile.pickles import text_dict, views, with_entries
from parity_tests.hostile.safetensors import recorded, safetensors_bytes
from parity_tests.support.cases import THREE_STAGES
from se_weights import DIALECTS

Change = Callable[[dict[str, NDArray]], Weights]


def metadata_of(valid: ValidFiles) -> dict[str, str]:
    """The architecture as se-resnet writes it into the metadata."""
    return {"architecture": json.dumps(valid.network.architecture.to_dict())}


def safetensors_of(change: Change, metadata: bool = True) -> Make:
    """A safetensors file of the valid arrays with changes, with or without metadata."""
    return file_with(
        "weights.safetensors",
        lambda valid: safetensors_bytes(change(valid.weights), **(metadata_of(valid) if metadata else {})),
    )


def unchanged(number: str, title: str, change: Change) -> Case:
    """A case whose arrays are converted without a change."""
    return accepted(number, title, safetensors_of(change), weights=lambda valid: change(valid.weights))


def named(old: str, new: str) -> Change:
    return lambda weights: {name.replace(old, new): array for name, array in weights.items()}


def under(prefix: str) -> Change:
    return lambda weights: {prefix + name: array for name, array in weights.items()}


def but(**arrays: Callable[[NDArray], NDArray]) -> Change:
    """Changes the arrays of these names; `__` stands for a dot."""

    def change(weights: dict[str, NDArray]) -> Weights:
        changes = {name.replace("__", "."): make for name, make in arrays.items()}
        return {name: changes[name](array) if name in changes else array for name, array in weights.items()}

    return change


def each(make: Callable[[NDArray], NDArray], ending: str = "") -> Change:
    return lambda weights: {name: make(array) if name.endswith(ending) else array for name, array in weights.items()}


def with_bits(array: NDArray) -> NDArray:
    """NaNs of several payloads, quiet and signalling, infinities, the smallest subnormal and a negative zero."""
    bits = np.resize(
        np.array([0x7FC00001, 0x7F800001, 0xFFC0BEEF, 0x7F800000, 0xFF800000, 1, 0x80000000], "u4"), array.size
    )
    return bits.view("f4").reshape(array.shape)


def turned(array: NDArray) -> NDArray:
    return np.ascontiguousarray(array.swapaxes(0, 1))


def as_convolutions(weights: dict[str, NDArray]) -> Weights:
    return {name: array[:, :, None, None] if ".se." in name else array for name, array in weights.items()}


def one_convolution(weights: dict[str, NDArray]) -> Weights:
    return weights | {"layer1.0.se.fc1.weight": weights["layer1.0.se.fc1.weight"][:, :, None, None]}


def counted(dtype: str) -> Change:
    """Adds num_batches_tracked to every norm, in a dtype that torch does not use."""

    def change(weights: dict[str, NDArray]) -> Weights:
        norms = [name.removesuffix("running_mean") for name in weights if name.endswith("running_mean")]
        return weights | {f"{norm}num_batches_tracked": np.full((), 7, dtype) for norm in norms}

    return change


def as_float(dtype: str) -> Change:
    return each(lambda array: array.astype(dtype))


def overflowing(array: NDArray) -> NDArray:
    with np.errstate(over="ignore"):
        return (array * np.float32(1e6)).astype("f2")


def commanded(*options: str) -> Make:
    def make(folder: Path, valid: ValidFiles) -> list[str]:
        path = folder / "weights.safetensors"
        path.write_bytes(safetensors_bytes(valid.weights))
        return convert(path.name, "target.safetensors", *options)

    return make


def averaged(valid: ValidFiles) -> bytes:
    """A running average of the weights: the same weights, except that bn1.bias is that of another norm."""
    found = views(valid.weights)
    found["bn1.bias"] = found["layer1.0.bn1.bias"]
    return text_dict({name: view.pickled for name, view in found.items()})


def average(valid: ValidFiles) -> Weights:
    return valid.weights | {"bn1.bias": valid.weights["layer1.0.bn1.bias"]}


def raw_and_average(folder: Path, valid: ValidFiles) -> Path:
    return with_entries(state_dict_ema=averaged(valid))(folder, valid)


def of_two_dialects(valid: ValidFiles) -> bytes:
    """Tensors that match pytorchcv's SE-ResNet-50 and 50b, whose strides are in different convolutions."""
    words = DIALECTS["pytorchcv"]
    known = words.completed(se_spec.architecture("se_resnet50", **THREE_STAGES, se_bias=True, reduction=4))
    return safetensors_bytes({name: np.ones(shape, "f4") for name, shape in words.shapes(known).items()})


CASES = (
    Case(
        "S1a",
        "a classifier of another name",
        safetensors_of(named("fc.bias", "head.bias"), metadata=False),
        3,
        "weights.mismatch",
        says="- fc.bias (5,)\n+ head.bias (5,)",
    ),
    Case("S1b", "nothing at all", file_with("weights.safetensors", safetensors_bytes({})), 3, "weights.mismatch"),
    *(
        accepted(f"S2{letter}", f"names under {prefix}", safetensors_of(under(prefix), metadata=False))
        for letter, prefix in zip("abcd", ("module.", "_orig_mod.", "backbone.", "encoder."), strict=True)
    ),
    unchanged(
        "S3a", "a square convolution, inputs for outputs, which no shape shows", but(layer1__0__conv2__weight=turned)
    ),
    Case(
        "S3b",
        "a convolution, inputs for outputs",
        safetensors_of(but(conv1__weight=turned)),
        3,
        "weights.mismatch",
        says="! conv1",
    ),
    accepted("S4a", "gates as convolutions without biases, as timm has them", safetensors_of(as_convolutions)),
    Case(
        "S4b",
        "a gate as a convolution, and the others as matrices",
        safetensors_of(one_convolution),
        3,
        "weights.mismatch",
        says="! layer1.0.se.fc1",
    ),
    accepted("S5a", "no counters of batches", safetensors_of(dict, metadata=False)),
    accepted("S5b", "counters of batches of 32 bits", safetensors_of(counted("i4"), metadata=False)),
    unchanged("S6a", "NaNs of every kind, infinities, negative zeros", but(conv1__weight=with_bits)),
    unchanged("S6b", "nothing but NaNs", each(lambda array: np.full_like(array, np.nan))),
    unchanged("S7a", "negative variances", each(np.negative, "running_var")),
    unchanged("S7b", "variances of zero", each(np.zeros_like, "running_var")),
    unchanged("S8a", "nothing but zeros", each(np.zeros_like)),
    unchanged("S8b", "constants", each(np.ones_like)),
    accepted("S9", "another epsilon than the architecture's", recorded(bn_epsilon=1e-3)),
    Case(
        "S10a",
        "other classes than its metadata say",
        recorded(num_classes=7),
        3,
        "weights.mismatch",
        says="! fc.weight",
    ),
    Case(
        "S10b", "other channels than its metadata say", recorded(in_channels=1), 3, "weights.mismatch", says="! conv1"
    ),
    Case(
        "S11a",
        "another depth than its metadata say",
        recorded(depths=[1, 3, 1]),
        3,
        "weights.mismatch",
        says="- layer2.2",
    ),
    Case("S11b", "another block than was asked for", commanded("--architecture", "se_resnet18"), 3, "weights.mismatch"),
    Case(
        "S11c",
        "names and shapes of two networks",
        file_with("weights.safetensors", of_two_dialects),
        2,
        "dialect.ambiguous",
        says="pytorchcv-b",
    ),
    unchanged("S12a", "values of 64 bits, which stay so", as_float("f8")),
    unchanged("S12b", "values of 16 bits that have overflowed", each(overflowing)),
    Case("S12c", "weights of eight bits", safetensors_of(as_float("i1")), 3, "weights.mismatch", says="int8"),
    accepted("S13", "raw weights beside their running average, which is taken", raw_and_average, weights=average),
)
