"""`se-resnet download`."""

import click

import se_hub
from se_cli.options import output_options
from se_cli.output import Output
from se_weights.catalogue import PublishedFile


def find_weights(text: str) -> PublishedFile:
    """The published weights that a command names: a network, and after a colon the weights.

    Args:
        text: "se_resnet50", "se_resnet50:a1_in1k" or "se_resnet50:timm/seresnet50.a1_in1k".
    """
    name, _, weights = text.partition(":")
    return se_hub.find_pretrained(name, weights or True)


@click.command("download")
@click.argument("name", metavar="NAME[:WEIGHTS]|ADDRESS")
@output_options
def command(name: str, as_json: bool, quiet: bool) -> None:
    """Fetch published weights, check their content, and say where they lie.

    NAME is a network and WEIGHTS one of those that `se-resnet list --pretrained` shows, the default ones without it:
    se_resnet50:a1_in1k. ADDRESS is hf://owner/name[@revision][/file], or an https address of the catalogue.
    """
    if se_hub.is_address(name):
        path, licence, weights = se_hub.fetch(name), "", name
    else:
        row = find_weights(name)
        path, licence, weights = se_hub.fetch_published(row), row.licence, se_hub.identity(row)
    result = {"weights": weights, "path": str(path), "licence": licence}
    said = f"{weights}, licence {licence}:" if licence else f"{weights}:"
    Output(as_json, quiet).show_result(result, said, str(path))
