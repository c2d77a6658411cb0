"""Domain-free tools: clock, logging, strict JSON."""
