"""The full screen of `daskctl top`: what it knows, what it shows of that, and how it is fed."""
