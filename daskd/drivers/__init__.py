"""One module a system behind one Protocol (`protocol.py`), found by the entry point group `daskd.drivers`."""
