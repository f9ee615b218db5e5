"""Infers the architecture of an SE-ResNet from the names and shapes of its tensors in a dialect.

Names in a file are never parsed. Instead the architecture is extended block by block, as long as the file contains the
names that the dialect generates for the next block. A single tensor that is missing or has the wrong shape should be
reported alone, so a width is taken from a convolution or from its norm, and where two tensors determine the same
setting, both values are tried.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

from se_spec import ArchitectureError, Layer, Role, SEResNetArchitecture, Shortcut, Squeeze, Stem, named_like
from se_spec.families.se_resnet.architecture import MOST_STAGES
from se_spec.families.se_resnet.block import EXPANSION
from se_spec.families.se_resnet.graph import CANONICAL_LAYERS
from se_spec.graph import LayerPosition
from se_spec.layers import ANTIALIASES, NORM_ROLES
from se_spec.squeeze import SQUEEZES
from se_weights.dialects import Dialect
from se_weights.families.family import UNNAMED, Family, Shape, Shapes, probe, stored_shape

STEMS = (
    Stem(),
    Stem(kernel=3, stride=1, pool="none"),
    Stem(kernel=3, stride=1, pool="none", norm=False),
    Stem(kernel=3, inner=(1, 1)),
    Stem(kernel=3, inner=(1, 1), pool="convolution"),
)
"""The stem of the paper, those of CIFAR networks, a deep stem, and that of ResNet-RS; the widths are inferred."""

STEM = probe(Role.CONVOLUTION, LayerPosition(Layer.STEM_CONVOLUTION), CANONICAL_LAYERS)
FIRST_BLOCK = probe(Role.CONVOLUTION, LayerPosition(Layer.CONVOLUTION, stage=1), CANONICAL_LAYERS)
PROBES = (
    STEM,
    probe(Role.CONVOLUTION, LayerPosition(Layer.PROJECTION, stage=1), CANONICAL_LAYERS),
    probe(Role.CLASSIFIER, LayerPosition(Layer.CLASSIFIER), CANONICAL_LAYERS),
)
"""Parameters whose names show which settings the names of a dialect depend on."""

NAMING_SETTINGS: dict[str, tuple[Any, ...]] = {
    "shortcut": (Shortcut(), Shortcut(averages=True)),
    "se": (True, False),
    "num_classes": (1, 0),
}
"""The values of the settings on which the names of some dialects depend: see `NameTable.names_depend_on`."""


def infer(shapes: Shapes, dialect: Dialect) -> Iterator[SEResNetArchitecture]:
    """The architectures that tensors may have, as `Family.infer` yields them."""
    for initial in _initial_architectures(dialect):
        yield from _ArchitectureInference(shapes, dialect, initial).candidates()


@cache
def _smallest_networks(names_depend_on: tuple[str, ...]) -> tuple[SEResNetArchitecture, ...]:
    """The networks of a single block: one for each order, block and stem.

    Args:
        names_depend_on: Further settings, of which each value of `NAMING_SETTINGS` is taken and not the first alone.
    """
    naming = [values if name in names_depend_on else values[:1] for name, values in NAMING_SETTINGS.items()]
    return tuple(
        SEResNetArchitecture(
            name=UNNAMED,
            order=order,
            block=block,
            depths=(1,),
            widths=(1,),
            stem=stem,
            squeeze=Squeeze(1),
            **dict(zip(NAMING_SETTINGS, values, strict=True)),
        )
        for order, block, stem, *values in product(("post", "pre"), EXPANSION, STEMS, *naming)
    )


@cache
def _initial_architectures(dialect: Dialect) -> tuple[SEResNetArchitecture, ...]:
    """The smallest networks, one for each set of names that the dialect may give to their layers."""
    return tuple(networks_by_names(dialect, dialect.tables["se_resnet"].names_depend_on).values())


def networks_by_names(dialect: Dialect, names_depend_on: tuple[str, ...]) -> dict[object, SEResNetArchitecture]:
    """The first of the smallest networks that a code base has with each set of names of layers.

    Args:
        dialect: The dialect of the names.
        names_depend_on: The settings of which each value is tried.
    """
    networks: dict[object, SEResNetArchitecture] = {}
    for initial in _smallest_networks(names_depend_on):
        places = (dialect.place(parameter, initial) for parameter in PROBES)
        names = initial.order, initial.block, initial.stem, *places
        if names not in networks and dialect.has(initial):
            networks[names] = initial
    return networks


class _ArchitectureInference:
    """Infers an architecture step by step; `inferred` contains the settings that are known so far.

    The names of a dialect may depend on the architecture, so the order of the steps matters.
    """

    def __init__(self, shapes: Shapes, dialect: Dialect, initial: SEResNetArchitecture) -> None:
        self.shapes = shapes
        self.dialect = dialect
        self.inferred = initial
        self.convolutions_per_block = len(next(initial.blocks()).convolutions)

    def candidates(self) -> Iterator[SEResNetArchitecture]:
        try:
            if not (self.infer_stem() and self.infer_first_block()):
                return
            class_counts = list(self.class_counts()) or [0]
            self.infer_stages()
            if self.has_shared_norms():
                self.inferred = self.inferred.replace(shared_norms=True)
        except ArchitectureError:
            return
        norms = self.norms_config()
        config = {**norms, "shortcut": self.shortcut_config(norms["folded"])}
        for se_config, num_classes in product(self.se_configs(), class_counts):
            try:
                yield self.inferred.replace(**config, **se_config, num_classes=num_classes)
            except ArchitectureError:
                continue

    def class_counts(self) -> Iterator[int]:
        """The number of classes according to the weight and to the bias of the classifier."""
        shapes = [self.tensor_shape(Layer.CLASSIFIER, role) for role in (Role.CLASSIFIER, Role.CLASSIFIER_BIAS)]
        yield from dict.fromkeys(shape[0] for shape in shapes if shape)

    def infer_stem(self) -> bool:
        """Infer the widths of the stem and the number of input channels; False if the tensors have another stem."""
        if self.has_input_norm():
            self.inferred = self.inferred.replace(input_norm=True)
        norm = Layer.STEM_NORM if self.inferred.stem.norm else Layer.STEM_CONVOLUTION
        numbers = range(1, len(self.inferred.stem_convolutions) + 1)
        widths = [self.output_channels(norm, Layer.STEM_CONVOLUTION, number=number) for number in numbers]
        kernel = self.kernel_shape(Layer.STEM_CONVOLUTION, widths[0])
        if not all(widths) or (kernel and kernel[2] != self.inferred.stem.kernel):
            return False
        inner = len(self.inferred.stem.inner)
        stem = {"inner": tuple(widths[:inner]), "width": widths[inner]}
        self.inferred = self.inferred.replace(stem=stem, in_channels=kernel[1] if kernel else 3)
        return True

    def has_input_norm(self) -> bool:
        """Whether the first norm is one of the images, which has their channels and no gain.

        In Keras's files its first tensor has the name of the stem norm's gain, but it has no fourth one.
        """
        first = self.tensor_shape(Layer.STEM_CONVOLUTION, Role.CONVOLUTION)
        if not first or self.tensor_shape(Layer.INPUT_NORM, Role.BETA) != first[1:2]:
            return False
        images, stem = (
            self.dialect.place(probe(role, LayerPosition(layer), CANONICAL_LAYERS), self.inferred)
            for layer, role in ((Layer.INPUT_NORM, Role.BETA), (Layer.STEM_NORM, Role.GAMMA))
        )
        return images.names != stem.names or not self.has_tensor(Layer.STEM_NORM, Role.VARIANCE)

    def infer_first_block(self) -> bool:
        """Infer the width of the first stage, and groups and width of the 3x3; False for another kind of block."""
        position = {"stage": 1, "index": 0}
        numbers = range(1, self.convolutions_per_block + 1)
        widths = [self.output_channels(Layer.NORM, Layer.CONVOLUTION, **position, number=number) for number in numbers]
        width = widths[-1] // EXPANSION[self.inferred.block]
        is_bottleneck = self.inferred.block == "basic" and self.output_channels(
            Layer.NORM, Layer.CONVOLUTION, **position, number=3
        )
        if is_bottleneck or not all(widths) or not width:
            return False
        self.inferred = self.inferred.replace(widths=(width,))
        kernel = self.kernel_shape(Layer.CONVOLUTION, widths[1], **position, number=2)
        kernel = kernel or self.kernel_shape(Layer.CONVOLUTION, widths[1], stage=1, index=1, number=2)
        if self.inferred.block == "bottleneck" and kernel:
            reduced, grouped, _ = widths
            groups, reduce_first = max(reduced // kernel[1], 1), max(grouped // reduced, 1)
            base_width = grouped * 64 // (width * groups)
            self.inferred = self.inferred.replace(groups=groups, base_width=base_width, reduce_first=reduce_first)
        return True

    def infer_stages(self) -> None:
        """Infer the depth and width of each stage: a block of another width than the one before begins a stage."""
        while True:
            *before, depth = self.inferred.depths
            *_, width = self.inferred.widths
            deeper = self.inferred.replace(depths=(*before, depth + 1))
            if self.last_block_width(deeper) == width:
                self.inferred = deeper
                continue
            if len(self.inferred.depths) == MOST_STAGES:
                break
            wider = self.inferred.replace(depths=(*self.inferred.depths, 1), widths=(*self.inferred.widths, 2 * width))
            if not (next_width := self.last_block_width(wider)):
                break
            self.inferred = wider.replace(widths=(*self.inferred.widths, next_width))
        if self.inferred.stem.width == self.inferred.widths[0]:
            self.inferred = self.inferred.replace(stem={"width": 0})

    def last_block_width(self, network: SEResNetArchitecture) -> int:
        """The width of the last block of a network, or 0 if the file does not contain the block."""
        self.inferred, inferred = network, self.inferred
        position = {"stage": len(network.depths), "index": network.depths[-1] - 1}
        channels = self.output_channels(Layer.NORM, Layer.CONVOLUTION, **position, number=self.convolutions_per_block)
        self.inferred = inferred
        return channels // EXPANSION[network.block]

    def shortcut_config(self, folded: bool) -> dict[str, object]:
        """The kernel of the shortcut convolutions that stride, their norms, and which blocks have such a convolution.

        Args:
            folded: whether norms are folded into biases.
        """
        stages = range(2, len(self.inferred.depths) + 1)
        shapes = [self.tensor_shape(Layer.PROJECTION, Role.CONVOLUTION, stage=stage, index=0) for stage in stages]
        kernel = 3 if any(shape and shape[2] == 3 for shape in shapes) else 1
        has_second_block = self.inferred.depths[0] > 1  # else its name may be that of a block of another stage
        in_every_block = has_second_block and self.has_tensor(Layer.PROJECTION, Role.CONVOLUTION, stage=1, index=1)
        unneeded = not next(self.inferred.blocks()).projects
        in_first_stage = unneeded and self.has_tensor(Layer.PROJECTION, Role.CONVOLUTION, stage=1, index=0)
        where = "blocks" if in_every_block else "stages" if in_first_stage else "needed"
        roles = [Role.CONVOLUTION_BIAS] if folded else NORM_ROLES
        layer = Layer.PROJECTION if folded else Layer.PROJECTION_NORM
        norm = any(self.has_tensor(layer, role, stage=stage, index=0) for stage in (*stages, 1) for role in roles)
        projects = any(shapes) or self.has_tensor(Layer.PROJECTION, Role.CONVOLUTION, stage=1, index=0)
        return {"kernel": kernel, "where": where, "norm": norm or (not projects and self.inferred.order == "post")}

    def se_configs(self) -> list[dict[str, object]]:
        """The SE settings that may result in the squeezed widths of the file: one for each rounding, or no SE."""
        stages = (len(self.inferred.depths), 1)
        if any(self.has_tensor(Layer.CHANNEL_GATE, Role.CHANNEL_CONVOLUTION, stage=stage, index=0) for stage in stages):
            return [{"se": True, "squeeze": {"gate": "eca", "reduction": 16}}]
        positions = [{"stage": stage, "index": 0, "number": number} for stage in stages for number in (1, 2)]
        gates = [shape for position in positions if (shape := self.tensor_shape(Layer.GATE, Role.GATE, **position))]
        if not gates:
            return [{"se": False, "reduction": 16}]
        bias = any(self.has_tensor(Layer.GATE, Role.GATE_BIAS, **position) for position in positions)
        widths = dict.fromkeys((max(gate), min(gate)) for gate in gates)
        return [
            {"se": True, "squeeze": {"reduction": reduction, "rounding": rounding, "bias": bias}}
            for channels, squeezed in widths
            for rounding in SQUEEZES
            for reduction in [squeezed if rounding == "constant" else channels // squeezed]
        ]

    def norms_config(self) -> dict[str, Any]:
        """Where the network has norms, and whether convolutions have biases."""
        numbers = (1, self.convolutions_per_block)
        first, last = ({"stage": 1, "index": 0, "number": number} for number in numbers)
        biased = self.has_tensor(Layer.CONVOLUTION, Role.CONVOLUTION_BIAS, **first)
        after_first = {**first, "number": 2 if self.inferred.order == "pre" else 1}
        folded = biased and not self.has_norm(Layer.NORM, **after_first)
        ends_biased = self.has_tensor(Layer.CONVOLUTION, Role.CONVOLUTION_BIAS, **last)
        return {
            "folded": folded,
            "conv_bias": ends_biased if self.inferred.order == "pre" else biased and not folded,
            "final_norm": self.inferred.order == "pre" and self.has_norm(Layer.LAST_NORM),
        }

    def has_shared_norms(self) -> bool:
        """Whether the first two convolutions of a block have one norm: a second has no tensors, or the same ones."""
        if self.inferred.order == "pre":
            return False
        blocks = [{"stage": stage, "index": 0} for stage in range(1, len(self.inferred.depths) + 1)]
        if not any(self.has_norm(Layer.NORM, **block, number=1) for block in blocks):
            return False
        norms = (probe(Role.BETA, LayerPosition(Layer.NORM, 1, 0, number), CANONICAL_LAYERS) for number in (1, 2))
        names = {self.dialect.place(norm, self.inferred).names for norm in norms}
        return len(names) == 1 or not any(self.has_norm(Layer.NORM, **block, number=2) for block in blocks)

    def has_norm(self, layer: Layer, **position: int) -> bool:
        return any(self.has_tensor(layer, role, **position) for role in NORM_ROLES)

    def output_channels(self, norm: Layer, convolution: Layer, **position: int) -> int:
        """The output channels of a convolution on which most tensors of it and its norm agree, or 0 without any."""
        after = position
        if convolution is Layer.CONVOLUTION and self.inferred.order == "pre":
            after = {**position, "number": position["number"] + 1}
        norms = [self.tensor_shape(norm, role, **after) for role in NORM_ROLES]
        widths = [shape[0] for shape in (*norms, self.tensor_shape(convolution, Role.CONVOLUTION, **position)) if shape]
        return max(widths, key=widths.count, default=0)

    def kernel_shape(self, layer: Layer, outputs: int, **position: int) -> Shape | None:
        """The shape of a convolution's weight, or None if it cannot be one with these output channels (transposed).

        Where a dialect stores each group separately, the output channels are a multiple of those of the weight.
        """
        shape = self.tensor_shape(layer, Role.CONVOLUTION, **position)
        return shape if shape and outputs % shape[0] == 0 and shape[2] == shape[3] in (1, 3, 7) else None

    def has_tensor(self, layer: Layer, role: Role, **position: int) -> bool:
        return self.tensor_shape(layer, role, **position) is not None

    def tensor_shape(self, layer: Layer, role: Role, **position: int) -> Shape | None:
        """The shape of a parameter on canonical axes, or None if the file does not contain it in this dialect."""
        parameter = probe(role, LayerPosition(layer, **position), CANONICAL_LAYERS)
        shape = stored_shape(self.shapes, self.dialect, parameter, self.inferred)
        return None if shape and 0 in shape else shape


def inferred_settings(inferred: SEResNetArchitecture) -> dict[str, object]:
    """The settings that tensors show even if the user names the architecture."""
    names = (
        "stem",
        "squeeze",
        "conv_bias",
        "folded",
        "num_classes",
        "in_channels",
        "input_norm",
        "final_norm",
        "shared_norms",
    )
    shortcut = {"where": inferred.shortcut.where, "norm": inferred.shortcut.norm}
    return {**{name: getattr(inferred, name) for name in names}, "shortcut": shortcut}


def with_published_name(inferred: SEResNetArchitecture) -> SEResNetArchitecture:
    """The architecture with the name of the published one that it resembles, if there is one."""
    named = named_like(inferred)
    same = isinstance(named, SEResNetArchitecture) and named.shortcut.averages == inferred.shortcut.averages
    return inferred.replace(name=named.name) if named and same else inferred


SE_RESNET = Family(
    name="se_resnet",
    first_layers=(STEM, FIRST_BLOCK),
    initial_architectures=_initial_architectures,
    infer=infer,
    inferred_settings=inferred_settings,
    with_published_name=with_published_name,
    hidden_settings={
        "stride_in": ("conv2", "conv1"),
        "stem.pool": ("same", "ceil", "pad1"),
        "shortcut.averages": (False, True),
        "squeeze.after_relu": (False, True),
        "antialias": tuple(ANTIALIASES),
        "output_stride": (32, 16, 8),
        "dilates_first": (False, True),
    },
    training_settings=("dropout", "drop_path"),
)
