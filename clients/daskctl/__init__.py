"""daskctl: clusters of a Dask daemon from the command line."""
