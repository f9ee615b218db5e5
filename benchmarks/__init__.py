"""How fast the models are beside their peers: `make bench`.

Every subject (`torch eager`, `timm eager`, ...) is a function that does one step of work. Those of one workload are
run in turn, a step each, so that whatever slows the machine slows all of them; what is quoted are ratios of medians.
"""
