"""Folders to share: weights, a config and a model card, as Hugging Face's hub and timm read them."""

from os import PathLike
from pathlib import Path

from se_spec import parameter_count
from se_weights.checkpoint import Checkpoint
from se_weights.dialects import TIMM, TORCH
from se_weights.files.formats import HUGGINGFACE
from se_weights.preprocessing import Preprocessing
from se_weights.writing.write import TOOL, write_as

CARD = "README.md"


def save_pretrained(
    checkpoint: Checkpoint,
    folder: str | PathLike[str],
    *,
    dialect: str | None = None,
    licence: str = "",
    parity: str = "",
    force: bool = False,
) -> None:
    """Write a folder that can be shared: `model.safetensors`, `config.json` and a model card.

    `from_file` of the three packages reads it, timm opens it with `"local-dir:FOLDER"` where the network is one of its
    own, and `huggingface_hub.upload_folder` uploads it.

    Args:
        checkpoint: The weights.
        folder: The folder to write; atomically, as `write` does.
        dialect: The dialect of the names: timm's where timm has the network, else torchvision's with SE layers.
        licence: The licence of the weights for the card, as the hub spells it, such as "apache-2.0".
        parity: A text for the card on how the frameworks agree, such as the table of `se-resnet parity`.
        force: Whether to overwrite a folder that already exists.

    Raises:
        WeightsError: What `write` raises.
    """
    chosen = dialect or (TORCH if TIMM.why_unsupported(checkpoint.architecture) else TIMM).name
    card = model_card(checkpoint, chosen, licence=licence, parity=parity)
    write_as(HUGGINGFACE, checkpoint, Path(folder), dialect=chosen, force=force, texts={CARD: card})


def model_card(checkpoint: Checkpoint, dialect: str, *, licence: str = "", parity: str = "") -> str:
    """The text of a model card, as the hub reads it: what the weights are, and how to load them in each framework.

    Args:
        checkpoint: The weights.
        dialect: The dialect in which they are written.
        licence: The licence of the weights, as the hub spells it.
        parity: A text on how the frameworks agree.
    """
    network = checkpoint.architecture
    images = checkpoint.preprocessing
    library = "timm" if dialect == TIMM.name else "se-resnet"
    task = f"names one of {network.num_classes} classes" if network.num_classes else "gives features"
    facts = {
        "network": f"`{network.name}`, {parameter_count(network):,} parameters; it {task}",
        "weights": f"sha256 of all tensors `{checkpoint.weights_sha256}` (`se-resnet compare`)",
        "names": f"of {dialect}",
        "made from": checkpoint.metadata.get("published") or checkpoint.metadata.get("source", ""),
        "images": _described(images) if images else "",
    }
    header = ["---", f"library_name: {library}", "pipeline_tag: image-classification"]
    header += [f"license: {licence}"] if licence else []
    header += ["tags:", "- image-classification", "- squeeze-and-excitation", "---"]
    lines = [f"# {network.name}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in facts.items() if text]
    lines += ["", "## Use", "", "```python", LOADING.strip(), "```", ""]
    lines += ["## Parity", "", parity.strip(), ""] if parity else []
    lines += [f"Written by {TOOL}.", ""]
    return "\n".join([*header, "", *lines])


def _described(images: Preprocessing) -> str:
    size = f"{images.size} x {images.size} pixels, {images.channels}, {images.interpolation}, crop {images.crop:g}"
    return f"{size}, from 0 to {images.maximum:g}, mean {images.mean}, std {images.std}"


LOADING = """
import se_torch, se_tf, se_flax  # any one of them

model = se_torch.from_file("FOLDER")  # PyTorch; images (N, C, H, W); or "hf://owner/name"
model = se_tf.from_file("FOLDER")  # Keras 3; images (N, H, W, C)
model = se_flax.from_file("FOLDER")  # Flax NNX; images (N, H, W, C)

import se_images

predictions = se_images.predict(model, ["photo.jpg"])
"""
