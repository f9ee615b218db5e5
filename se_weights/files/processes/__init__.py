"""Separate processes: a sandbox for C libraries that read untrusted files, and frameworks that write a format."""
