"""`python -m se_cli`, the same command as `se-resnet`."""

from se_cli.main import run

if __name__ == "__main__":
    run()
