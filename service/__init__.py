"""Kompas: events in, exact marketing KPIs out."""
