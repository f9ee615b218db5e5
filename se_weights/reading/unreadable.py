"""Names what a file contains that is no network of ours, from the names, shapes and types of its tensors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from se_weights.files import Tensor

Tensors = Mapping[str, Tensor]

STATE_DICT = "save the state dict of the network before that step"


@dataclass(frozen=True)
class Kind:
    """A kind of file that is not read.

    Attributes:
        what: What the file contains.
        advice: What to do.
        matches: Whether tensors are of this kind.
    """

    what: str
    advice: str
    matches: Callable[[Tensors], bool]


def _named(pattern: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(re.search(pattern, name) for name in tensors)


def _of_rank(rank: int) -> Callable[[Tensors], bool]:
    """Whether most kernels have so many axes."""

    def matches(tensors: Tensors) -> bool:
        ranks = [len(tensor.shape) for tensor in tensors.values() if len(tensor.shape) > 2]
        return 2 * ranks.count(rank) > len(ranks)

    return matches


def _empty(tensors: Tensors) -> bool:
    return bool(tensors) and 2 * sum(tensor.shape == (0,) for tensor in tensors.values()) > len(tensors)


def _without_norms(tensors: Tensors) -> bool:
    biased = [name for name in tensors if re.search(r"conv1\.bias$", name)]
    return len(biased) > 1 and not any(re.search(r"running_mean|moving_mean", name) for name in tensors)


KINDS = (
    Kind(
        "a shard of a DeepSpeed ZeRO checkpoint, whose parameters are flattened in parts",
        "join the parts with the zero_to_fp32.py that DeepSpeed writes beside it, and give its result",
        lambda tensors: (
            _named(r"fp32_flat_groups|single_partition_of_fp32_groups|fp32_partitioned_groups")(tensors)
            or _empty(tensors)
        ),
    ),
    Kind(
        "a network prepared for quantization-aware training",
        STATE_DICT,
        _named(r"activation_post_process|fake_quant"),
    ),
    Kind(
        "an int8 quantized network",
        f"{STATE_DICT}: quantized weights are rounded",
        lambda tensors: (
            _named(r"_packed_params|zero_point")(tensors)
            or any(tensor.dtype == "int8" and len(tensor.shape) > 1 for tensor in tensors.values())
        ),
    ),
    Kind(
        "a network that is pruned with masks",
        "call torch.nn.utils.prune.remove for each parameter before saving",
        _named(r"weight_(orig|mask)$"),
    ),
    Kind(
        "a network with reparametrized weights (weight norm, spectral norm)",
        "call torch.nn.utils.parametrize.remove_parametrizations before saving",
        _named(r"parametrizations\.|weight_[guv]$"),
    ),
    Kind(
        "a network of keras.applications",
        "its convolutions have biases in front of their batch norms, and no SE layer; load it in Keras",
        _named(r"conv1_conv/|conv\d_block\d+_\d_conv/"),
    ),
    Kind(
        "the weights of a Keras model that is not one of se_tf",
        "a file of weights alone does not tell which of its layers is which",
        _named(r"layers/(conv2d|batch_normalization)(_\d+)?/vars/\d"),
    ),
    Kind("an adapter (LoRA)", "merge it into the network before saving", _named(r"lora_[A-Za-z]+")),
    Kind(
        "a network whose batch norms were folded into its convolutions, in names other than ours",
        f"{STATE_DICT}; fold_batchnorm folds it again",
        _without_norms,
    ),
    Kind(
        "a speaker network (ResNetSE of voxceleb_trainer)",
        "its blocks have their norms after the ReLU, which is not supported",
        _named(r"torchfb\.|instancenorm\."),
    ),
    Kind("a 3-D network", "only networks of two-dimensional images are supported", _of_rank(5)),
    Kind("a 1-D network", "only networks of two-dimensional images are supported", _of_rank(3)),
)


def describe(tensors: Tensors) -> str:
    """A clause that names what tensors are which no dialect matches, and what to do; empty if that is not known.

    Args:
        tensors: The tensors by name, as they are in the file.
    """
    kind = next((kind for kind in KINDS if kind.matches(tensors)), None)
    return f"it looks like {kind.what}; {kind.advice}" if kind else ""
