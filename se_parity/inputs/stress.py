"""Stress cases: inputs on which frameworks may differ although they agree on ordinary images and weights.

Each changes the weights or the images of a case in one way that occurs in practice: channels that died in training,
images that were not normalised, values below the smallest normal number, images of one colour, saturated gates.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from se_parity.case import Case
from se_spec import Role, manifest

GATES = (Role.GATE, Role.GATE_BIAS)


def dead_channels(case: Case) -> Case:
    """Give every fourth channel of every norm after a convolution a variance of 1e-12 to 1e-6 and a mean of 100 to 1000
    in size, and set its convolution's kernel to zero: such statistics remain when a channel dies in training."""
    rng = np.random.default_rng(0)
    weights = dict(case.weights)
    for convolution, path in case.architecture.graph.foldable_norms.items():
        variance, dead = case.weights[f"{path}.running_var"], slice(None, None, 4)
        count = len(variance[dead])
        means = rng.choice((-1.0, 1.0), count) * rng.uniform(100, 1000, count)
        weights[f"{path}.running_var"] = _with_values(variance, dead, 10.0 ** rng.uniform(-12, -6, count))
        weights[f"{path}.running_mean"] = _with_values(case.weights[f"{path}.running_mean"], dead, means)
        weights[f"{convolution}.weight"] = _with_values(weights[f"{convolution}.weight"], dead, 0.0)
        gain = case.weights[f"{path}.weight"]
        weights[f"{path}.weight"] = _with_values(gain, dead, 1e-6 * gain[dead])
    return replace(case, weights=weights)


def _with_values(array: np.ndarray, where: slice, values: object) -> np.ndarray:
    new = np.array(array)
    new[where] = values
    return new


def saturated_gates(case: Case) -> Case:
    """Multiply the last layer of every gate by 50, so that its gates are close to 0 or 1."""
    last = {each.name for each in manifest(case.architecture) if each.role in GATES and each.number == 2}
    return replace(case, weights={name: array * 50 if name in last else array for name, array in case.weights.items()})


def _scale_images(factor: float) -> Callable[[Case], Case]:
    return lambda case: replace(case, images=(case.images * np.asarray(factor, case.images.dtype)))


def constant_images(case: Case) -> Case:
    """Replace every image by its mean colour."""
    means = case.images.mean(axis=(2, 3), keepdims=True)
    return replace(case, images=np.broadcast_to(means, case.images.shape).copy())


STRESS: dict[str, Callable[[Case], Case]] = {
    "dead channels": dead_channels,
    "saturated gates": saturated_gates,
    "huge images": _scale_images(1e4),
    "tiny images": _scale_images(1e-6),
    "denormal images": _scale_images(1e-40),
    "constant images": constant_images,
}


def stress_cases(case: Case) -> list[Case]:
    """Return the case with each change of STRESS; the cases are named after the changes."""
    return [replace(change(case), name=name) for name, change in STRESS.items()]
