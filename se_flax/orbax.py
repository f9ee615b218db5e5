"""Writes weights as an Orbax folder, as a program: `python -P orbax.py weights.safetensors PATH < metadata.json`.

se_weights runs it in a separate process, so that converting never imports JAX into the caller's. It is run as a file,
since a module of the package would import all of Flax first.
"""

import json
import sys
from typing import Any

import orbax.checkpoint as ocp
from safetensors.numpy import load_file


def main(source: str, target: str) -> None:
    """Saves the arrays as a tree without OCDBT, so that the folder's declarations can be read without Orbax.

    Args:
        source: Path of a safetensors file; "/" in the names of its tensors joins the levels of the tree.
        target: Path of the folder to write. Its metadata are read as JSON from standard input.
    """
    tree: dict[str, Any] = {}
    for name, array in load_file(source).items():
        *branches, leaf = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = array
    in_place = ocp.options.AtomicityOptions(ocp.options.AtomicityMode.COMMIT_FILE)  # no other folder next to the target
    with ocp.StandardCheckpointer(use_ocdbt=False, atomicity_options=in_place) as checkpointer:
        checkpointer.save(target, tree, custom_metadata={"se_resnet": json.load(sys.stdin)})


if __name__ == "__main__":
    main(*sys.argv[1:])
