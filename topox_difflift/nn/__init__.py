"""Topological networks and readouts for lifted complexes."""
