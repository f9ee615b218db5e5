"""The names of the classes that published networks tell apart."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from se_weights import Preprocessing
from se_weights.preprocessing import CAFFE_CLASSES, STANDARD_CLASSES
from se_weights.transforms.reorder import caffe_to_standard


@dataclass(frozen=True)
class Label:
    """A class.

    Attributes:
        index: Its place among the logits.
        name: Its name in words, or its index where the names are not known.
        wordnet_id: Its id in WordNet 3.0, such as "n02504458", or empty.
    """

    index: int
    name: str
    wordnet_id: str = ""


def labels(num_classes: int, preprocessing: Preprocessing | None) -> tuple[Label, ...]:
    """The classes of a network, in the order of its logits.

    Args:
        num_classes: The number of its logits.
        preprocessing: That of the network, which names the order of its classes.
    """
    order = preprocessing.classes if preprocessing else ""
    if num_classes == 1000 and order == STANDARD_CLASSES:
        return imagenet_labels()
    if num_classes == 1000 and order == CAFFE_CLASSES:
        return tuple(
            replace(imagenet_labels()[standard], index=index)
            for index, standard in enumerate(caffe_to_standard().tolist())
        )
    return tuple(Label(index, str(index)) for index in range(num_classes))


@cache
def imagenet_labels() -> tuple[Label, ...]:
    """The 1000 classes of ILSVRC 2012 in the order of their WordNet ids.

    Source of ids and names: `imagenet_synsets.txt` and `imagenet_synset_to_lemma.txt` of timm 1.0.31, data/_info; the
    names are the lemmas of WordNet 3.0.
    """
    lines = files("se_images").joinpath("imagenet_1k.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return tuple(Label(index, name, wordnet_id) for index, (wordnet_id, name) in enumerate(rows))
