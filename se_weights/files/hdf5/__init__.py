"""HDF5 files, read by the HDF5 library in a process with limits."""
