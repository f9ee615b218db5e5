"""Writes the tables of published files again, from the registries of the installed code bases.

`python -m parity_tests.peers.update_published --torch-peers PYTHON --keras-peers PYTHON`, with the interpreters of the
environments that `nox -s peers keras_peers` makes; then `python -m parity_tests.support.checkpoints_table`. Rows of
code bases without a registry are kept, and so are the networks of known rows, which tests compare with the peers'.
"""

import argparse
import csv
import json
import re
import tempfile
from pathlib import Path

from parity_tests.peers.conftest import Peers
from se_spec import Architecture
from se_weights import WeightMismatch
from se_weights.catalogue.cells import decode, encode
from se_weights.catalogue.published import COLUMNS, TABLE, tensors_key
from se_weights.catalogue.unread import UNREAD, UNREAD_COLUMNS
from se_weights.dialects import DIALECTS
from se_weights.reading.recognition import DialectMatch, recognise_all

Row = dict[str, str]

TORCH_DIALECTS = [dialect for dialect in DIALECTS.values() if dialect.framework == "torch"]


def recognised(name: str, network: dict) -> DialectMatch | None:
    """What the tensors of a peer's network are read as, if anything, with the pool that its layers show."""
    source, _, its_name = name.partition(" ")
    shapes = {key: tuple(shape) for key, shape in network["shapes"].items()}
    try:
        matches = recognise_all(name, shapes, TORCH_DIALECTS)
    except WeightMismatch:
        return None
    strides_in_3x3 = source == "pytorchcv" and re.search(r"\db(_|$)", its_name)
    preferred = "pytorchcv-b" if strides_in_3x3 else source
    match = next((each for each in matches if each.dialect.name == preferred), matches[0])
    return match.with_settings({"antialias": network["antialias"]}) if network["antialias"] != "none" else match


def updated(rows: list[Row], unread: list[Row], listed: list[Row], networks: dict) -> tuple[list[Row], list[Row]]:
    """The rows of both tables after an update.

    Args:
        rows: The rows of the published files that are read.
        unread: The rows of those that are not.
        listed: What the code bases list now (`published.list_published`).
        networks: Their networks (`published.list_networks`), for files that are new.
    """
    sources = {each["source"] for each in listed}
    known = {(each["source"], each["name"], each["tag"]): each for each in rows}
    by_name = {(each["source"], each["name"]): each for each in rows}
    reasons = {(each["source"], each["name"]): each["reason"] for each in unread}
    with_files = {(each["source"], each["name"]) for each in listed}
    kept = [
        each
        for each in rows
        if each["source"] not in sources or (not each["tag"] and (each["source"], each["name"]) not in with_files)
    ]
    kept_unread = [each for each in unread if each["source"] not in sources]
    for each in listed:
        file_facts = {column: each[column] for column in COLUMNS if column in each}
        key = each["source"], each["name"]
        row = known.get((*key, each["tag"])) or by_name.get(key)
        if key in reasons and not row:
            kept_unread.append({**{c: each.get(c, "") for c in UNREAD_COLUMNS}, "reason": reasons[key]})
        elif row:
            network = _with_classes(decode(row["architecture"]), each["classes"])
            kept.append({**row, **file_facts, "architecture": encode(network)})
        else:
            match = recognised(" ".join(key), networks[" ".join(key)])
            if match is None:
                raise SystemExit(f"{' '.join(key)} is not read: add its row to {UNREAD.name}, with the reason")
            network = _with_classes(match.architecture, each["classes"])
            facts = {"tensors": tensors_key(network), "dialect": match.dialect.name, "architecture": encode(network)}
            kept.append({**facts, **file_facts})
    return _sorted(kept, "tensors"), _sorted(kept_unread, "source")


def _with_classes(network: Architecture, classes: str) -> Architecture:
    return network.replace(num_classes=int(classes))


def _sorted(rows: list[Row], first: str) -> list[Row]:
    return sorted(rows, key=lambda row: (row[first], row["source"], row["name"], row["tag"]))


def read_table(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def write_table(path: Path, columns: tuple[str, ...], rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(
            table, columns, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-peers", required=True, metavar="PYTHON")
    parser.add_argument("--keras-peers", required=True, metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        listed: list[Row] = []
        answer = Path(folder) / "answer.json"
        for python, script in ((options.torch_peers, "torch_peers.py"), (options.keras_peers, "keras_peers.py")):
            peers = Peers(python, script, Path(folder) / "log.txt")
            peers.make(published=str(answer))
            listed += json.loads(answer.read_text())
            if script == "torch_peers.py":
                peers.make(networks=str(answer), sources=["timm", "torchvision", "pytorchcv"], every=False)
                networks = json.loads(answer.read_text())
            peers.close()
    rows, unread = updated(read_table(TABLE), read_table(UNREAD), listed, networks)
    write_table(TABLE, COLUMNS, rows)
    write_table(UNREAD, UNREAD_COLUMNS, unread)


if __name__ == "__main__":
    main()
