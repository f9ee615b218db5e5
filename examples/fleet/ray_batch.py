"""Converts a folder of checkpoints on a Ray cluster: `python ray_batch.py CHECKPOINTS CONVERTED [SHARDS]`.

Needs `pip install ray` in addition to se-resnet. Both folders must be on a disk that all nodes share.
"""

import subprocess
import sys

import ray


@ray.remote(num_cpus=1, max_retries=3)
def convert(checkpoints: str, converted: str, shard: str) -> int:
    """Convert one shard and return its exit status; a retry resumes where a lost node stopped."""
    command = [sys.executable, "-m", "se_cli", "convert", "--batch", checkpoints, converted]
    options = ["--to", ".safetensors", "--manifest", "--resume", "--shard", shard, "--jobs", "1", "--quiet"]
    return subprocess.run([*command, *options], check=False).returncode


def main(checkpoints: str, converted: str, count: str = "4") -> int:
    ray.init(ignore_reinit_error=True)
    shards = [f"{number}/{count}" for number in range(1, int(count) + 1)]
    statuses = ray.get([convert.remote(checkpoints, converted, shard) for shard in shards])
    print(dict(zip(shards, statuses, strict=True)))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
