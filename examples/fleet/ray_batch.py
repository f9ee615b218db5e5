"""Converts a folder of checkpoints on a Ray cluster: `python ray_batch.py CHECKPOINTS CONVERTED [SHARDS]`.

Needs `pip install ray` beside se-resnet; both folders on a disk that all nodes see.
"""

import subprocess
import sys

import ray


@ray.remote(num_cpus=1, max_retries=3)
def convert(checkpoints: str, converted: str, share: str) -> int:
    """The exit status of one share; a retry goes on where a lost node was."""
    command = [sys.executable, "-m", "se_cli", "convert", "--batch", checkpoints, converted]
    options = ["--to", ".safetensors", "--manifest", "--resume", "--shard", share, "--jobs", "1", "--quiet"]
    return subprocess.run([*command, *options], check=False).returncode


def main(checkpoints: str, converted: str, shards: str = "4") -> int:
    ray.init(ignore_reinit_error=True)
    shares = [f"{number}/{shards}" for number in range(1, int(shards) + 1)]
    statuses = ray.get([convert.remote(checkpoints, converted, share) for share in shares])
    print(dict(zip(shares, statuses, strict=True)))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
