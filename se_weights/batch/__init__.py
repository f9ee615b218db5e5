"""Converts many files, each in a separate process, so that a file that crashes the process fails alone.

A batch that was interrupted can be resumed. Its journal records which targets were started and which are finished;
finished items are skipped only if source, options and target still have the same content. At the end the journal is
replaced by `results.jsonl`, with a line for each item in the order of the sources; it does not depend on interruptions.
"""

from se_weights.batch.items import BatchShard, Item, items_in
from se_weights.batch.journal import Result
from se_weights.batch.options import Options, expect_writable
from se_weights.batch.running import KILLED, run_batch

__all__ = ["KILLED", "BatchShard", "Item", "Options", "Result", "expect_writable", "items_in", "run_batch"]
