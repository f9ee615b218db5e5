"""Mutants of a network with ECA layers for the parity check, as those of others in mutants.py."""

from typing import Any

from parity_tests.faults.mutants import Mutant, change_each, replace_attribute


def circular(make_layer: Any) -> Any:
    """A channel convolution whose first and last channels are neighbours."""

    def make(kernel: int) -> Any:
        layer = make_layer(kernel)
        layer.padding_mode = "circular"
        layer._reversed_padding_repeated_twice = [kernel // 2, kernel // 2]
        return layer

    return make


def of_a_plain_gate(gate: Any) -> Any:
    """The gates of an ECA layer without its convolution."""

    def plain(self: Any, x: Any) -> Any:
        from flax import nnx

        return nnx.sigmoid(x.mean(axis=(1, 2)))

    return plain


GATE_MUTANTS = {
    "torch ECA: the ends are neighbours": Mutant(
        "torch",
        "the last channel beside the first",
        "layer1.0.se.conv",
        replace_attribute("se_torch.eca_layer", "ChannelConvolution", circular),
    ),
    "keras ECA: kernel turned": Mutant(
        "tf",
        "kernel turned over the channels",
        "layer1.0.se.conv",
        weights=change_each("se.conv.weight", lambda kernel: kernel[..., ::-1]),
    ),
    "flax ECA: no convolution": Mutant(
        "flax",
        "",
        "layer1.0.se",
        replace_attribute("se_flax.eca_layer", "ECALayer.gate", of_a_plain_gate),
        why="without the convolution, the layer is another one",
    ),
    "keras ECA: kernel missing": Mutant(
        "tf",
        "kernel missing",
        "layer1.0.se.conv",
        weights=change_each("se.conv.weight", lambda kernel: 0 * kernel),
    ),
}
