"""What a network expects of an image, and what its classes are: facts of the code base that trained it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

STANDARD_CLASSES = "standard"
"""The ILSVRC 2012 classes in the order of their WordNet ids, as torchvision, timm and Keras have them."""

CAFFE_CLASSES = "caffe"
"""The ILSVRC 2012 classes in the order of the authors' own Caffe release (hujie-frank/SENet)."""


@dataclass(frozen=True)
class Preprocessing:
    """`channels` are "RGB" or "BGR"; pixels reach from 0 to `maximum`, then `mean` is subtracted and the rest divided
    by `std`, channel by channel in the order of `channels`. Images are resized by `interpolation` so that their short
    side is `size` / `crop`, and the middle `size` x `size` pixels are taken."""

    channels: str
    maximum: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    interpolation: str
    crop: float
    classes: str

    def apply(self, pixels: NDArray, maximum: float) -> NDArray[np.float32]:
        """Images (N, 3, H, W) of RGB pixels from 0 to `maximum`, as the network expects them; their size is kept."""
        ordered = pixels[:, ::-1] if self.channels == "BGR" else pixels
        scaled = ordered.astype(np.float64) * (self.maximum / maximum)
        columns = (np.array(values)[:, None, None] for values in (self.mean, self.std))
        mean, std = columns
        return ((scaled - mean) / std).astype(np.float32)

    @property
    def text(self) -> str:
        """As JSON, for the metadata of a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The preprocessing in a file's metadata. Raises ValueError or TypeError where it is none."""
        facts: Any = json.loads(text)
        return cls(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])})


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

IMAGENET = Preprocessing("RGB", 1.0, IMAGENET_MEAN, IMAGENET_STD, 224, "bilinear", 0.875, STANDARD_CLASSES)
"""torchvision's, Cadene's, senet.pytorch's, pytorchcv's and qubvel's."""

CAFFE = Preprocessing("BGR", 255.0, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), 224, "bilinear", 0.875, CAFFE_CLASSES)
"""The authors' own (hujie-frank/SENet, issues 5 and 53)."""

MMPRETRAIN = Preprocessing(
    "RGB", 255.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 224, "bilinear", 0.875, STANDARD_CLASSES
)

VGGFACE2 = Preprocessing(
    "BGR", 255.0, (91.4953, 103.8827, 131.0912), (1.0, 1.0, 1.0), 224, "bilinear", 0.875, "VGGFace2 identities"
)

CIFAR = Preprocessing(
    "RGB", 1.0, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 32, "none", 1.0, "as CIFAR numbers them"
)
"""pytorchcv's, for CIFAR-10, CIFAR-100 and SVHN alike."""

KNOWN = {"imagenet": IMAGENET, "caffe": CAFFE, "vggface2": VGGFACE2, "cifar": CIFAR}
"""What `se-resnet identify` tries; mmpretrain's gives what ImageNet's does."""
