"""Requests and responses of the gRPC and REST APIs."""
