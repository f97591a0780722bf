"""daskd: a daemon that owns Dask clusters, so that they and their work outlive the session that asked for them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("daskd")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"
