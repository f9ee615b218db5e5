"""Runs the `se-resnet` command as `python -m se_cli`."""

from se_cli.main import run

if __name__ == "__main__":
    run()
