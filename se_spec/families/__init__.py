"""The families of networks: the config, the graph and the named networks of each."""
