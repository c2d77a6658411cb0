"""Long runs that break things on purpose: `make torture-kill` and its siblings."""
