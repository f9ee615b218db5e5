"""Cases in which frameworks part where ordinary images and weights cannot show it.

Each is the network and the images of a case, changed in one way that happens in practice: channels that died in
training, images that were not normalised, values below the smallest normal number, images without content, gates that
are all open or shut.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from se_parity.case import Case


def dead_channels(case: Case) -> Case:
    """Every fourth channel of every norm has a variance of 1e-12 to 1e-6 around a mean of hundreds, as a channel has
    that its convolution no longer feeds."""
    rng = np.random.default_rng(0)
    weights = dict(case.weights)
    for name, variance in case.weights.items():
        if not name.endswith("running_var"):
            continue
        path, dead = name.removesuffix(".running_var"), slice(None, None, 4)
        count = len(variance[dead])
        means = rng.choice((-1.0, 1.0), count) * rng.uniform(100, 1000, count)
        weights[name] = _changed(variance, dead, 10.0 ** rng.uniform(-12, -6, count))
        weights[f"{path}.running_mean"] = _changed(case.weights[f"{path}.running_mean"], dead, means)
        convolution = _fed_by(path)
        weights[f"{convolution}.weight"] = _changed(weights[f"{convolution}.weight"], dead, 0.0)
        gain = case.weights[f"{path}.weight"]
        weights[f"{path}.weight"] = _changed(gain, dead, 1e-6 * gain[dead])
    return replace(case, weights=weights)


def _fed_by(norm: str) -> str:
    """The convolution before a norm."""
    path, _, last = norm.rpartition(".")
    own = "0" if path.endswith("downsample") else last.replace("bn", "conv")
    return f"{path}.{own}" if path else own


def _changed(array: np.ndarray, where: slice, values: object) -> np.ndarray:
    new = np.array(array)
    new[where] = values
    return new


def saturated_gates(case: Case) -> Case:
    """The last layer of every gate is fifty times as large, so that gates are open or shut."""
    return replace(
        case,
        weights={name: array * 50 if ".se.fc2." in name else array for name, array in case.weights.items()},
    )


def _scaled(factor: float) -> Callable[[Case], Case]:
    return lambda case: replace(case, images=(case.images * np.asarray(factor, case.images.dtype)))


def constant_images(case: Case) -> Case:
    """Each image is one colour."""
    means = case.images.mean(axis=(2, 3), keepdims=True)
    return replace(case, images=np.broadcast_to(means, case.images.shape).copy())


STRESS: dict[str, Callable[[Case], Case]] = {
    "dead channels": dead_channels,
    "saturated gates": saturated_gates,
    "huge images": _scaled(1e4),
    "tiny images": _scaled(1e-6),
    "denormal images": _scaled(1e-40),
    "constant images": constant_images,
}


def stressed(case: Case) -> list[Case]:
    """The case under every stress, by name."""
    return [replace(change(case), name=name) for name, change in STRESS.items()]
