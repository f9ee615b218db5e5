"""Measures the speed of the models and of the converter, compared with their peers: `make bench`.

A subject (`torch eager`, `timm eager`, ...) is a function that runs one step. Subjects of a workload take turns, one
step each, so that anything that slows the machine slows all of them alike. The results are ratios of medians.
"""
