"""Coverage-guided fuzzing with atheris, which keeps inputs that reach new code of se_weights and mutates them further.

    python -m fuzz.atheris_reader FORMAT [-runs=N] [-max_total_time=SECONDS] [CORPUS ...]

FORMAT is a format that is read by Python code alone, from one file; the options after it are those of libFuzzer. Half
of the inputs are mutated by libFuzzer, half by fuzz/mutations.py. atheris needs a separate environment: nox -s fuzz.
"""

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["se_weights"]):
    from fuzz.mutations import mutate_file
    from fuzz.seeds import seeds
    from fuzz.trial import FOUND_FOLDER, read_file

FORMATS = ("safetensors", "pth", "stacked", "npz", "msgpack")
LIMITS = "-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"
"""Seconds an input, megabytes of the process (Python, numpy and the corpus take a few hundred), bytes of an input."""


def main(reader: str, *options: str) -> None:
    name = seeds(reader)[0].opens
    with tempfile.TemporaryDirectory() as folder:
        path, corpus = Path(folder, name), Path(folder, "corpus")
        corpus.mkdir()
        for number, sample in enumerate(seeds(reader)):
            (corpus / str(number)).write_bytes(sample.files[sample.opens])

        def read_once(content: bytes) -> None:
            path.write_bytes(content)
            read_file(path)

        def mutate(content: bytes, max_size: int, seed: int) -> bytes:
            if seed % 2:
                return atheris.Mutate(content, max_size)
            return mutate_file(name, content, Random(seed))[:max_size]

        FOUND_FOLDER.mkdir(exist_ok=True)
        artifacts = f"-artifact_prefix={FOUND_FOLDER}/{reader}-"
        atheris.Setup([sys.argv[0], *LIMITS, artifacts, *options, str(corpus)], read_once, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in FORMATS:
        sys.exit(f"{__doc__}\nFORMAT: {' '.join(FORMATS)}")
    main(*sys.argv[1:])
