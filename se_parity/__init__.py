"""Runs the frameworks side by side, each in a process of its own, and judges them against a float64 oracle."""

from se_parity.case import Case, open_case
from se_parity.difference import Difference, compare
from se_parity.examination import Asked, Examination, examine
from se_parity.oracle import Oracle
from se_parity.parity import Report, Run, check_parity
from se_parity.trained_like import sample_images, trained_like_weights
from se_parity.workers import FRAMEWORKS, Worker, WorkerFailed

__all__ = [
    "FRAMEWORKS",
    "Asked",
    "Case",
    "Difference",
    "Examination",
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
