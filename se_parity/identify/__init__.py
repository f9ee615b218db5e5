"""Identifying the config that a file's tensors cannot show, from known outputs."""
