"""KPIs as data: catalogue, windows, compiled queries, exact answers."""
