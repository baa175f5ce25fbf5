"""Runs on disk, in both directions: writer, reader, manifest, samples and histograms."""
