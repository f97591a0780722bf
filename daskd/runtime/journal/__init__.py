"""The journal: what a scheduler was asked to do, so that its successor can go on."""
