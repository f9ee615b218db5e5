"""`se-resnet convert --batch`."""

import os
import re
from pathlib import Path
from typing import Any

import click

from se_cli.output import Output
from se_weights.batch import BatchShard, Options, Result, expect_writable, items_in, run_batch


class BatchShardType(click.ParamType):
    """Part I of N of a batch, such as 2/8."""

    name = "i/n"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> BatchShard:
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(value))
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            self.fail(f"{value!r} is not I/N such as 2/8, the second of eight parts", parameter, context)
        return BatchShard(int(match[1]), int(match[2]))


def convert_batch(
    source: Path,
    out: Path,
    options: Options,
    output: Output,
    *,
    jobs: int | None,
    resume: bool,
    shard: BatchShard,
) -> int:
    """Convert one shard of a batch of files.

    Args:
        source: A folder of weights files, or a text file that lists them.
        out: The folder for the converted files and the results.
        options: How each file is converted.
        output: Shows the progress and the result.
        jobs: Files to convert in parallel; None for the number of CPUs.
        resume: Skip the files that an interrupted run has finished.
        shard: Which part of the batch to convert.

    Returns:
        The largest exit status among the files; 0 where there are none.
    """
    import se_hub
    from se_cli.statuses import describe  # imports se_parity, whose errors have statuses too

    expect_writable(options.suffix)
    items = items_in(source, out, options.suffix)
    failures: list[Result] = []
    with output.progress_bar(sum(shard.has(item) for item in items)) as on_step:

        def show(result: Result) -> None:
            on_step(Path(result["source"]).name)
            if result["status"]:
                failures.append(result)

        results = run_batch(
            items,
            out,
            options,
            jobs=jobs or os.cpu_count() or 1,
            resume=resume,
            shard=shard,
            locate=se_hub.locate,
            describe=describe,
            on_result=show,
        )
    converted, path = len(results) - len(failures), str(out / shard.results)
    result = {"items": len(results), "converted": converted, "failed": len(failures), "results": path}
    messages = [
        f"{failure['source']}: {failure['message'].removeprefix(failure['source'] + ': ')} [{failure['id']}]"
        for failure in failures
    ]
    output.show_result(result, *messages, f"converted {converted} of {len(results)} files; results: {path}")
    return max((result["status"] for result in results), default=0)
