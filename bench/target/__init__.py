"""One-off questions to a server: status, metadata, predictions, and whether a load would be understood."""
