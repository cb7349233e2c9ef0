"""What clients speak: a body in, an Ask out; deltas in, that dialect's events out. Pure."""
