"""Mutants of an anti-aliased SE-ResNet for the parity check, as those of others in mutants.py."""

from typing import Any

from parity_tests.faults.mutants import Mutant, other_settings, replace_attribute


def constant_padding(make_pad: Any) -> Any:
    """A pad function that ignores its mode."""
    return lambda x, padding, mode: make_pad(x, padding)


def second_values(call: Any) -> Any:
    """The call of a blur that takes every second value of (N, H, W, C)."""
    return lambda self, x: x[:, ::2, ::2]


ANTIALIAS_MUTANTS = {
    "torch blur: padded with zeros": Mutant(
        "torch",
        "a blur padded with zeros",
        "aa",
        replace_attribute("se_torch.layers", "functional.pad", constant_padding),
    ),
    "keras blur: every second value": Mutant(
        "tf", "every second value for a blur", "aa", replace_attribute("se_tf.layers", "BlurPool.call", second_values)
    ),
    "flax blur: every second value": Mutant(
        "flax",
        "every second value for a blur",
        "aa",
        replace_attribute("se_flax.layers", "BlurPool.__call__", second_values),
    ),
    "torch blur: a plain network": Mutant(
        "torch", "strides without anti-aliasing", "maxpool", other_settings("torch", antialias="none")
    ),
    "keras blur: a mean": Mutant("tf", "a mean that strides", "maxpool", other_settings("tf", antialias="mean")),
}
