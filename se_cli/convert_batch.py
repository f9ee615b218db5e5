"""`se-resnet convert --batch`."""

import os
import re
from pathlib import Path
from typing import Any

import click

from se_cli.output import Output
from se_weights.batch import BatchShard, Options, Result, expect_writable, items_in, run_batch


class BatchShardType(click.ParamType):
    """The i-th of n shares of a batch, such as 2/8."""

    name = "i/n"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> BatchShard:
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(value))
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is not like 2/8, the second of eight", parameter, context)
        return BatchShard(int(found[1]), int(found[2]))


def convert_batch(
    source: Path,
    out: Path,
    options: Options,
    output: Output,
    *,
    jobs: int | None,
    resume: bool,
    share: BatchShard,
) -> int:
    """Converts the share of a folder or a list into another folder; the largest status of all files is returned."""
    from se_cli.statuses import describe  # reads se_parity, whose errors have statuses too

    expect_writable(options.suffix)
    items = items_in(source, out, options.suffix)
    ours = [item for item in items if share.has(item)]
    failures: list[Result] = []
    with output.steps(len(ours)) as step:

        def show(result: Result) -> None:
            step(Path(result["source"]).name)
            if result["status"]:
                failures.append(result)

        results = run_batch(
            items,
            out,
            options,
            jobs=jobs or os.cpu_count() or 1,
            resume=resume,
            shard=share,
            describe=describe,
            on_result=show,
        )
    facts = {
        "items": len(results),
        "converted": len(results) - len(failures),
        "failed": len(failures),
        "results": str(out / share.results),
    }
    lines = [f"{result['source']}: {result['message']} [{result['id']}]" for result in failures]
    output.result(facts, *lines, f"{facts['converted']} of {facts['items']} converted: {facts['results']}")
    return max((result["status"] for result in results), default=0)
