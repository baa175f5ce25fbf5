"""Model versions: which are on disk, how they load, and which can be called."""
