"""Numbers out: the KPI API and Prometheus."""
