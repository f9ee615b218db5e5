"""Runs the frameworks side by side, one worker process each, and judges them against a float64 reference."""

from se_parity.case import Case
from se_parity.examination import Examination, ExaminationOptions, examine
from se_parity.inputs.open_case import open_case
from se_parity.inputs.trained_like import sample_images, trained_like_weights
from se_parity.judge.check_parity import check_parity
from se_parity.judge.difference import Difference, compare
from se_parity.judge.matrix import Report, Run
from se_parity.reference.oracle import Oracle
from se_parity.run.client import FRAMEWORKS, Worker, WorkerFailed

__all__ = [
    "FRAMEWORKS",
    "Case",
    "Difference",
    "Examination",
    "ExaminationOptions",
    "Oracle",
    "Report",
    "Run",
    "Worker",
    "WorkerFailed",
    "check_parity",
    "compare",
    "examine",
    "open_case",
    "sample_images",
    "trained_like_weights",
]
