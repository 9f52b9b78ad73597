"""One run over all stages, sizes and peers; see `__main__`."""
