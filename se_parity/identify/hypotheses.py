"""What a file may be, as far as its tensors do not tell: every reading of them that could have given some outputs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError, MaxPool
from se_weights import DIALECTS, Checkpoint, Preprocessing
from se_weights.preprocessing import CAFFE_CLASSES, KNOWN
from se_weights.transforms.reorder import caffe_to_standard

EPSILONS = (1e-5, 1e-3, 1e-4, 2e-5)
"""Those of published files."""

INDISTINGUISHABLE = 0.2
"""Epsilons that differ by less than this share, such as 1e-5 and 9.999999747e-06 or 1.1e-5, do the same."""

FACTS = ("stride_in", "stem.pool", "shortcut.averages", "squeeze.after_relu", "bn_epsilon", "images", "classes")
"""What readings may differ in, by name."""

AS_GIVEN = "as given"
REVERSED = "channels reversed"
FILE_IN_CAFFES_ORDER = "file in Caffe's order"
OUTPUTS_IN_CAFFES_ORDER = "file in the standard order, outputs in Caffe's"


@dataclass(frozen=True)
class Preparation:
    """How images become what the network takes: as they are, or as a known preprocessing does it; `reversed` where
    their channels stand in the other order."""

    reversed: bool = False
    known: str | None = None

    @property
    def name(self) -> str:
        if self.known:
            return f"{self.known}, given as {'BGR' if self.reversed else 'RGB'}"
        return REVERSED if self.reversed else AS_GIVEN

    def apply(self, images: NDArray) -> NDArray[np.float32]:
        """Images (N, C, H, W), whole pixels from 0 to 255 where a preprocessing is known."""
        ordered = images[:, ::-1] if self.reversed else images
        return KNOWN[self.known].apply(ordered, 255.0) if self.known else ordered.astype(np.float32)

    def of(self, expected: Preprocessing | None) -> Preprocessing | None:
        """What the network expects of an image, where its dialect would have `expected` this."""
        if self.known or not expected:
            return KNOWN[self.known] if self.known else None
        other = {"RGB": "BGR", "BGR": "RGB"}[expected.channels]
        reordered = replace(expected, channels=other, mean=expected.mean[::-1], std=expected.std[::-1])
        return reordered if self.reversed else expected


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One reading of the file: its checkpoint, the facts of the network, how the images are to be prepared, and which
    order the file's classes have where the outputs have the other one."""

    checkpoint: Checkpoint
    architecture: Architecture
    preparation: Preparation
    classes: str

    def to_dict(self) -> dict[str, object]:
        """The dialect, and the value of each of FACTS."""
        known = self.architecture
        return {
            "dialect": self.dialect or "none",
            "stride_in": known.stride_in,
            "stem.pool": known.stem.pool,
            "shortcut.averages": known.shortcut.averages,
            "squeeze.after_relu": known.squeeze.after_relu,
            "bn_epsilon": known.bn_epsilon,
            "images": self.preparation.name,
            "classes": self.classes,
        }

    @property
    def dialect(self) -> str | None:
        """The dialect that has these facts; none where no code base is known to."""
        return _published(self.checkpoint.dialect, self.architecture)

    def reordered(self, logits: NDArray) -> NDArray:
        """The network's logits in the order of the outputs."""
        order = {FILE_IN_CAFFES_ORDER: np.argsort(caffe_to_standard()), OUTPUTS_IN_CAFFES_ORDER: caffe_to_standard()}
        return logits[:, order[self.classes]] if self.classes in order else logits

    def confirmed(self) -> Checkpoint:
        """The checkpoint with these facts; its metadata then carry them."""
        expected = self.preparation.of(self.checkpoint.preprocessing)
        if expected and self.classes == FILE_IN_CAFFES_ORDER:
            expected = replace(expected, classes=CAFFE_CLASSES)
        told = {"preprocessing": expected.text} if expected else {}
        metadata = {**self.checkpoint.metadata, **told, "identified": json.dumps(self.to_dict())}
        return Checkpoint(self.architecture, self.checkpoint.weights, self.dialect or self.checkpoint.dialect, metadata)


@lru_cache(4096)
def _published(read_in: str, known: Architecture) -> str | None:
    """The dialect of an architecture whose tensors are those of the one that the file was read in."""
    own = DIALECTS[read_in]
    shapes = own.shapes(known)
    for dialect in (own, *DIALECTS.values()):
        completed = dialect.completed(known) if dialect.family == own.family else None
        if completed and completed.function_key() == known.function_key() and dialect.shapes(known) == shapes:
            return dialect.name
    return None


def hypotheses(checkpoints: Sequence[Checkpoint], images: NDArray, classes: int) -> Iterator[Hypothesis]:
    """Every structure that the tensors allow, the dialects' own first; equal ones once. Those of one network follow
    each other, so that it is built once. `classes` is how many the outputs tell apart."""
    own = [(checkpoint, checkpoint.architecture) for checkpoint in checkpoints]
    sides = images.shape[2:]
    others = [(checkpoint, known) for checkpoint, told in own for known in _structures(told, sides)]
    seen = set()
    for checkpoint, known in own + others:
        places = [tuple(DIALECTS[checkpoint.dialect].places(a).values()) for a in (known, checkpoint.architecture)]
        if places[0] == places[1] and (places[0], known.function_key()) not in seen:
            seen.add((places[0], known.function_key()))
            for preparation, order in product(_preparations(images), _class_orders(known, classes)):
                yield Hypothesis(checkpoint, known, preparation, order)


def with_epsilons(known: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The hypotheses with each other epsilon."""
    return [
        replace(hypothesis, architecture=hypothesis.architecture.replace(bn_epsilon=epsilon))
        for epsilon in EPSILONS
        for hypothesis in known
        if not hypothesis.architecture.folded
        and abs(epsilon / hypothesis.architecture.bn_epsilon - 1) > INDISTINGUISHABLE
    ]


def _structures(own: Architecture, sides: Sequence[int]) -> Iterator[Architecture]:
    """The network with each of the facts that no tensor tells, as far as it can have them."""
    for stride_in, pool, after_relu, averages in product(
        ("conv2", "conv1"), _pools(own, sides), (False, True), (False, True)
    ):
        groups = {"stem": {"pool": pool}, "squeeze": {"after_relu": after_relu}, "shortcut": {"averages": averages}}
        try:
            yield own.replace(stride_in=stride_in, **groups)
        except ArchitectureError:
            continue


def _pools(own: Architecture, sides: Sequence[int]) -> list[str]:
    """The alignments of the stem's pool that differ at the size of these images: two of them do on even sides."""
    if not own.max_pool:
        return ["none"]
    for convolution in own.stem_convolutions:
        sides = [convolution.side(side) for side in sides]
    pools = {tuple(map(MaxPool(pool).padding, sides)): pool for pool in ("same", "ceil", "pad1")}
    return list(pools.values())


def _preparations(images: NDArray) -> list[Preparation]:
    """Known preprocessings are tried on whole pixels only; channels have an order where there are three."""
    if images.shape[1] != 3:
        return [Preparation()]
    pixels = np.issubdtype(images.dtype, np.integer) or (images.min() >= 0 and images.max() > 16)
    known = (None, *KNOWN) if pixels else (None,)
    return [Preparation(reverse, name) for name in known for reverse in (False, True)]


def _class_orders(known: Architecture, classes: int) -> list[str]:
    """Caffe's order is one of ILSVRC's 1000 classes."""
    others = [FILE_IN_CAFFES_ORDER, OUTPUTS_IN_CAFFES_ORDER]
    return [AS_GIVEN, *(others if known.num_classes == classes == 1000 else [])]
