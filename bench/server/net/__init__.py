"""Sockets, HTTP/1.1 and HTTP/2 connections, and the I/O loop."""
