"""The subcommands, one file each; each has its click command as `command`."""
