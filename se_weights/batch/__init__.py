"""Many files, each converted in a process of its own, so that a bad one fails alone.

A batch can be killed at any moment and gone on with. Its journal says which targets were begun and which are done; what
is done is known by content, and so is skipped only while source, options and target are what they were. In the end the
journal becomes `results.jsonl`, a line an item in the order of the sources: the same bytes, however often the batch was
interrupted.
"""

from se_weights.batch.items import BatchShard, Item, items_in
from se_weights.batch.journal import Result
from se_weights.batch.options import Options, expect_writable
from se_weights.batch.running import KILLED, run_batch

__all__ = ["KILLED", "BatchShard", "Item", "Options", "Result", "expect_writable", "items_in", "run_batch"]
