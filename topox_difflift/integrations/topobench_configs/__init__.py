"""Configurations that Hydra finds by pkg://topox_difflift.integrations.topobench_configs."""
