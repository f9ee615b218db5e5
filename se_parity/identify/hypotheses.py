"""The hypotheses about a file: every config that fits its tensors but that names and shapes cannot distinguish."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError, AveragePool, MaxPool
from se_spec.layers import Operation, Shape
from se_weights import DIALECTS, Checkpoint, Preprocessing
from se_weights.families import FAMILIES
from se_weights.preprocessing import CAFFE_CLASSES, KNOWN
from se_weights.transforms.reorder import caffe_to_standard

EPSILONS = (1e-5, 1e-3, 1e-4, 2e-5)
"""The batch norm epsilons of published files."""

INDISTINGUISHABLE = 0.2
"""Epsilons that differ by less than this share, such as 1e-5 and 1.1e-5, give nearly the same outputs."""

AS_GIVEN = "as given"
REVERSED = "channels reversed"
FILE_IN_CAFFES_ORDER = "file in Caffe's order"
OUTPUTS_IN_CAFFES_ORDER = "file in the standard order, outputs in Caffe's"


@dataclass(frozen=True)
class InputTransform:
    """How the given images are turned into the input of the network.

    Attributes:
        reversed: whether their channels are reversed first.
        known: the name of the known preprocessing that is applied (se_weights.preprocessing), or None.
    """

    reversed: bool = False
    known: str | None = None

    @property
    def name(self) -> str:
        if self.known:
            return f"{self.known}, given as {'BGR' if self.reversed else 'RGB'}"
        return REVERSED if self.reversed else AS_GIVEN

    def apply(self, images: NDArray) -> NDArray[np.float32]:
        """Transform images (N, C, H, W), which are pixels from 0 to 255 where `known` is set."""
        ordered = images[:, ::-1] if self.reversed else images
        return KNOWN[self.known].apply(ordered, 255.0) if self.known else ordered.astype(np.float32)

    def preprocessing(self, default: Preprocessing | None) -> Preprocessing | None:
        """The preprocessing that the network expects, where its dialect has a default one."""
        if self.known or not default:
            return KNOWN[self.known] if self.known else None
        other = {"RGB": "BGR", "BGR": "RGB"}[default.channels]
        reordered = replace(default, channels=other, mean=default.mean[::-1], std=default.std[::-1])
        return reordered if self.reversed else default


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One config that the file may have.

    Attributes:
        checkpoint: the file as one dialect.
        architecture: the network, which may differ from the checkpoint's in fields that tensors cannot show.
        input_transform: how the images are turned into the input of the network.
        class_order: AS_GIVEN, FILE_IN_CAFFES_ORDER or OUTPUTS_IN_CAFFES_ORDER.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    input_transform: InputTransform
    class_order: str

    @property
    def key(self) -> tuple[object, ...]:
        """The same for hypotheses that compute the same, such as one network that was read as two dialects."""
        places = tuple(DIALECTS[self.checkpoint.dialect].places(self.checkpoint.architecture).values())
        return places, self.architecture.function_key(), self.input_transform, self.class_order

    def to_dict(self) -> dict[str, object]:
        """The dialect, and the value of each field in which hypotheses may differ."""
        return {
            "dialect": self.dialect or "none",
            **{name: self.architecture.setting(name) for name in FAMILIES[self.architecture.family].hidden_settings},
            "bn_epsilon": self.architecture.bn_epsilon,
            "images": self.input_transform.name,
            "classes": self.class_order,
        }

    @property
    def dialect(self) -> str | None:
        """The name of the dialect whose code base implements this architecture; None if no known one does."""
        return _dialect_of(self.checkpoint.dialect, self.architecture)

    def reorder_classes(self, logits: NDArray) -> NDArray:
        """Put the network's logits (N, num_classes) into the class order of the given outputs."""
        orders = {FILE_IN_CAFFES_ORDER: np.argsort(caffe_to_standard()), OUTPUTS_IN_CAFFES_ORDER: caffe_to_standard()}
        return logits[:, orders[self.class_order]] if self.class_order in orders else logits

    def confirmed(self) -> Checkpoint:
        """The checkpoint with this architecture, preprocessing and class order, which its metadata record."""
        preprocessing = self.input_transform.preprocessing(self.checkpoint.preprocessing)
        if preprocessing and self.class_order == FILE_IN_CAFFES_ORDER:
            preprocessing = replace(preprocessing, classes=CAFFE_CLASSES)
        recorded = {"preprocessing": preprocessing.text} if preprocessing else {}
        metadata = {**self.checkpoint.metadata, **recorded, "identified": json.dumps(self.to_dict())}
        return Checkpoint(self.architecture, self.checkpoint.weights, self.dialect or self.checkpoint.dialect, metadata)


@lru_cache(4096)
def _dialect_of(read_as: str, architecture: Architecture) -> str | None:
    """The dialect that implements an architecture with the tensors that the file has, in the dialect it was read as."""
    own = DIALECTS[read_as]
    shapes, key = own.shapes(architecture), architecture.function_key()
    for dialect in (own, *DIALECTS.values()):
        completed = dialect.completed(architecture) if dialect.framework == own.framework else None
        if completed and completed.function_key() == key and dialect.shapes(architecture) == shapes:
            return dialect.name
    return None


def hypotheses(checkpoints: Sequence[Checkpoint], images: NDArray, classes: int) -> Iterator[Hypothesis]:
    """Yield every hypothesis with the epsilon that its dialect implies.

    Hypotheses with the same network follow each other, so that it need not be loaded again.

    Args:
        checkpoints: one file as each dialect that matches it; their own architectures come first.
        images: (N, C, H, W).
        classes: the number of classes of the given outputs.
    """
    own = [(checkpoint, checkpoint.architecture) for checkpoint in checkpoints]
    size = images.shape[2:]
    others = [(checkpoint, other) for checkpoint, architecture in own for other in _structures(architecture, size)]
    seen = set()
    for checkpoint, architecture in own + others:
        dialect = DIALECTS[checkpoint.dialect]
        places, own_places = (tuple(dialect.places(each).values()) for each in (architecture, checkpoint.architecture))
        if places == own_places and (places, architecture.function_key()) not in seen:
            seen.add((places, architecture.function_key()))
            for input_transform, order in product(_input_transforms(images), _class_orders(architecture, classes)):
                yield Hypothesis(checkpoint, architecture, input_transform, order)


def with_epsilons(candidates: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Return the hypotheses with each of EPSILONS that differs from their own."""
    return [
        replace(hypothesis, architecture=hypothesis.architecture.replace(bn_epsilon=epsilon))
        for epsilon in EPSILONS
        for hypothesis in candidates
        if not hypothesis.architecture.folded
        and abs(epsilon / hypothesis.architecture.bn_epsilon - 1) > INDISTINGUISHABLE
    ]


def _structures(own: Architecture, size: Sequence[int]) -> Iterator[Architecture]:
    """The architecture with every combination of settings that tensors cannot show, as far as it can have them.

    Of those that compute the same from images of this height and width, the last one is given.
    """
    others = [own]
    for name, values in FAMILIES[own.family].hidden_settings.items():
        own_value = own.setting(name)
        tried = values if own_value in values else (own_value,)
        others = [changed for other in others for value in tried for changed in _with_setting(other, name, value)]
    yield from {_function_of(other, size): other for other in others}.values()


def _with_setting(own: Architecture, name: str, value: object) -> list[Architecture]:
    """The architecture with another value of a setting, if it can have that."""
    try:
        return [own.with_setting(name, value)]
    except ArchitectureError:
        return []


def _function_of(architecture: Architecture, size: Sequence[int]) -> tuple[object, ...]:
    """What an architecture computes from images of a height and width, on which the windows of a pool depend."""
    graph = architecture.graph
    shapes = graph.shapes((architecture.in_channels, *size))
    return tuple((node.inputs, _windows(node.operation, inputs[0])) for node, inputs in graph.with_inputs(shapes))


def _windows(operation: Operation, shape: Shape) -> object:
    """What an operation computes from an input of one shape."""
    if isinstance(operation, MaxPool):
        return tuple(map(operation.padding, shape[1:]))
    return operation.output(shape) if isinstance(operation, AveragePool) else operation


def _input_transforms(images: NDArray) -> list[InputTransform]:
    """Known preprocessings apply to pixels only, and the order of channels matters if there are three."""
    if images.shape[1] != 3:
        return [InputTransform()]
    pixels = np.issubdtype(images.dtype, np.integer) or (images.min() >= 0 and images.max() > 16)
    names = (None, *KNOWN) if pixels else (None,)
    return [InputTransform(reverse, name) for name in names for reverse in (False, True)]


def _class_orders(architecture: Architecture, classes: int) -> list[str]:
    """Caffe's order exists for the 1000 classes of ILSVRC only."""
    others = [FILE_IN_CAFFES_ORDER, OUTPUTS_IN_CAFFES_ORDER]
    return [AS_GIVEN, *(others if architecture.num_classes == classes == 1000 else [])]
