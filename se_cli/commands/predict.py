"""`se-resnet predict`."""

import os
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import se_hub
import se_images
from se_cli.commands.download import find_weights
from se_cli.options import (
    FRAMEWORK_ALIASES,
    PATH,
    architecture_option,
    dialect_option,
    output_options,
    parse_names,
    prefix_option,
)
from se_cli.output import Output, table
from se_cli.presentation.prediction_page import prediction_page
from se_images import Prediction
from se_parity.run.client import FRAMEWORK_ENVIRONMENT, FRAMEWORKS
from se_weights import Checkpoint
from se_weights.preprocessing import KNOWN
from se_weights.writing.atomic_write import atomic_write, target_exists


@click.command("predict")
@click.argument("subject", metavar="NAME[:WEIGHTS]|FILE|ADDRESS")
@click.argument("images", nargs=-1, required=True, type=PATH, metavar="IMAGE...")
@click.option(
    "--framework",
    "frameworks",
    default="torch",
    show_default=True,
    metavar="LIST",
    help=f"The frameworks to run it in ({', '.join(FRAMEWORKS)}; keras is tf).",
)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to show for each image.")
@click.option(
    "--preprocessing",
    type=click.Choice(list(KNOWN)),
    help="How the images are prepared, in the place of what the file or its code base says.",
)
@click.option("--report", "page", type=PATH, metavar="HTML", help="Also write an HTML page with what the network sees.")
@click.option("--force", is_flag=True, help="Overwrite an existing page.")
@dialect_option
@architecture_option
@prefix_option
@output_options
def command(
    subject: str,
    images: tuple[Path, ...],
    frameworks: str,
    top: int,
    preprocessing: str | None,
    page: Path | None,
    force: bool,
    dialect: str | None,
    architecture: str | None,
    prefix: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Name what each IMAGE shows: the classes with the highest probabilities, by the network in every framework.

    NAME is a network with published weights (`se-resnet list --pretrained`), which are downloaded the first time. The
    exit status is 1 if the most probable classes of the frameworks differ.
    """
    if force and not page:
        raise click.UsageError("--force overwrites a page: name it with --report")
    if page and page.exists() and not force:
        raise target_exists(page)
    output = Output(as_json, quiet)
    names = parse_names(frameworks, FRAMEWORKS, "--framework", FRAMEWORK_ALIASES) or ["torch"]
    pixels = {str(path): se_images.read_image(path) for path in images}
    checkpoint = _read(subject, {"dialect": dialect, "architecture": architecture, "prefix": prefix})
    if preprocessing:
        checkpoint = replace(checkpoint, metadata={**checkpoint.metadata, "preprocessing": KNOWN[preprocessing].text})
    if checkpoint.preprocessing is None:
        raise click.UsageError("the preprocessing of these weights is not known: name it with --preprocessing")
    if not checkpoint.architecture.num_classes:
        raise click.UsageError("these weights have no classifier, and give features, not classes")
    if checkpoint.architecture.in_channels != 3:
        raise click.UsageError(
            f"this network takes images of {checkpoint.architecture.in_channels} channels, not three"
        )
    found: dict[str, list[list[Prediction]]] = {}
    seconds: dict[str, float] = {}
    with output.spinner("...") as show:
        for name in names:
            show(f"predicting in {name}")
            for variable, value in FRAMEWORK_ENVIRONMENT[name].items():
                os.environ.setdefault(variable, value)  # which the framework reads when it is imported
            begin = time.perf_counter()
            model = import_module(f"se_{name}").model_of(checkpoint)
            found[name] = se_images.predict(model, list(pixels.values()), top=top)
            seconds[name] = time.perf_counter() - begin
    agree = all(len({found[name][number][0].label.index for name in names}) == 1 for number in range(len(pixels)))
    results = [
        {
            "image": path,
            "predictions": {name: [_entry(each) for each in found[name][number]] for name in names},
        }
        for number, path in enumerate(pixels)
    ]
    if page:
        with atomic_write(page, replace=force) as temporary:
            temporary.write_text(prediction_page(subject, checkpoint, pixels, found))
    result = {
        "weights": subject,
        "architecture": checkpoint.architecture.name,
        "agree": agree,
        "seconds": seconds,
        "images": results,
    }
    tables = [_table(path, number, found, names) for number, path in enumerate(pixels)]
    verdict = "the frameworks agree" if agree else "the frameworks do NOT agree"
    output.show_result(result, *tables, *([verdict] if len(names) > 1 else []))
    if not agree:
        raise click.exceptions.Exit(1)


def _read(subject: str, options: dict[str, Any]) -> Checkpoint:
    """The checkpoint of a file or an address, or of published weights by name."""
    name = subject.partition(":")[0]
    if se_hub.is_address(subject) or Path(subject).exists() or "/" in name or "." in name:
        return se_hub.read(subject, **options)
    if any(options.values()):
        raise click.UsageError(f"--dialect, --architecture and --prefix are for a file, and {subject} is no file")
    row = find_weights(subject)
    return se_hub.read_pretrained(row.architecture.name, se_hub.identity(row), {})


def _entry(prediction: Prediction) -> dict[str, Any]:
    label = prediction.label
    return {
        "class": label.index,
        "name": label.name,
        "wordnet_id": label.wordnet_id,
        "probability": prediction.probability,
    }


def _table(path: str, number: int, found: dict[str, list[list[Prediction]]], names: list[str]) -> Any:
    """The classes of one image: those of the first framework, with the probability in each."""
    by_framework = {name: {each.label: each.probability for each in found[name][number]} for name in names}
    rows = [
        (label.name, label.wordnet_id, *(_percent(by_framework[name].get(label)) for name in names))
        for label in dict.fromkeys(label for name in names for label in by_framework[name])
    ]
    return table("class", "WordNet id", *names, rows=rows, right=names, title=path)


def _percent(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.2%}"
