"""Hydra configurations for TopoBench: ``hydra.searchpath=[pkg://topox_difflift.integrations.topobench_configs]``."""
