"""The subcommands: what the help says of each, apart from its arguments and options."""

from collections.abc import Mapping
from typing import NamedTuple


class Subcommand(NamedTuple):
    """What the help says of a subcommand.

    Attributes:
        summary: What it does, for the list of subcommands.
        page: The page of the documentation, in the repository.
        examples: Command lines, without the name of the program.
    """

    summary: str
    page: str
    examples: tuple[str, str]

    @property
    def epilog(self) -> str:
        """The end of the help as click takes it; after a backspace it keeps the lines of a paragraph."""
        lines = "\n".join(f"  se-resnet {example}" for example in self.examples)
        return f"\b\nExamples:\n{lines}\n\nDocumentation: {self.page}"


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "list": Subcommand(
        "List the architectures with their parameter counts and multiply-adds.",
        "docs/reference/architectures.md",
        ("list 'se_resnet*'", "list --pretrained 'seresnet50*'"),
    ),
    "inspect": Subcommand(
        "Show what a weights file contains: format, dialect, architecture, tensors, hashes.",
        "docs/guide/which_file.md",
        ("inspect model.pth", "inspect model.safetensors --graph --picture graph.svg"),
    ),
    "identify": Subcommand(
        "Find the settings that tensors cannot show, from a few outputs of the original code.",
        "docs/guide/which_file.md",
        (
            "identify seresnet50.pth --inputs outputs.npz",
            "identify seresnet50.pth --inputs outputs.npz --out seresnet50.safetensors",
        ),
    ),
    "convert": Subcommand(
        "Convert a weights file to the format that the target's suffix names.",
        "docs/guide/convert.md",
        ("convert model.pth model.weights.h5", "convert --batch checkpoints converted --to .msgpack --resume"),
    ),
    "compare": Subcommand(
        "Compare the weights of two files, which may have any format and dialect, bit for bit.",
        "docs/guide/convert.md",
        ("compare model.pth model.weights.h5", "compare old.pth new.msgpack --tolerance 1e-6"),
    ),
    "verify": Subcommand(
        "Check that a file has not changed since it was written.",
        "docs/guide/convert.md",
        ("verify model.safetensors", "verify model.pth --manifest record.json"),
    ),
    "predict": Subcommand(
        "Name what images show, with a network in one or several frameworks.",
        "docs/guide/pretrained.md",
        (
            "predict se_resnet50 photo.jpg",
            "predict model.pth one.jpg two.jpg --framework torch,tf,flax --report out.html",
        ),
    ),
    "download": Subcommand(
        "Fetch published weights, and say where they lie and under which licence.",
        "docs/guide/pretrained.md",
        ("download se_resnet50:a1_in1k", "download hf://timm/seresnet50.a1_in1k"),
    ),
    "parity": Subcommand(
        "Run a network in every framework and compare the logits with a float64 reference.",
        "docs/guide/parity.md",
        ("parity se_resnet18", "parity model.pth --all --size 224x224 --report report.html"),
    ),
    "demo": Subcommand(
        "Train a small network on real images, convert it and evaluate it in every framework.",
        "docs/guide/install.md",
        ("demo", "demo --model se_densenet40_cifar --out dense"),
    ),
}
"""By name, in the order of the help."""
