"""Fuzzing that follows the code: atheris keeps what reaches a new line of se_weights, and goes on from there.

    python -m fuzz.atheris_reader FORMAT [-runs=N] [-max_total_time=SECONDS] [CORPUS ...]

FORMAT is one of those that are read in Python alone, from one file; what follows are libFuzzer's options. Half of the
inputs are changed by libFuzzer, half by fuzz/mutations.py. atheris needs an environment of its own: nox -s fuzz.
"""

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["se_weights"]):
    from fuzz.mutations import damaged
    from fuzz.seeds import seeds
    from fuzz.trial import FOUND, tried

FORMATS = ("safetensors", "pth", "stacked", "npz", "msgpack")
LIMITS = "-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"
"""Of one input in seconds, and of the whole process: Python, numpy and the corpus hold a few hundred megabytes."""


def main(reader: str, *options: str) -> None:
    name = seeds(reader)[0].opens
    with tempfile.TemporaryDirectory() as folder:
        path, corpus = Path(folder, name), Path(folder, "corpus")
        corpus.mkdir()
        for number, sample in enumerate(seeds(reader)):
            (corpus / str(number)).write_bytes(sample.files[sample.opens])

        def once(content: bytes) -> None:
            path.write_bytes(content)
            tried(path)

        def mutate(content: bytes, longest: int, seed: int) -> bytes:
            if seed % 2:
                return atheris.Mutate(content, longest)
            return damaged(name, content, Random(seed))[:longest]

        FOUND.mkdir(exist_ok=True)
        kept = f"-artifact_prefix={FOUND}/{reader}-"
        atheris.Setup([sys.argv[0], *LIMITS, kept, *options, str(corpus)], once, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in FORMATS:
        sys.exit(f"{__doc__}\nFORMAT: {' '.join(FORMATS)}")
    main(*sys.argv[1:])
