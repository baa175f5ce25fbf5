"""gRPC as bytes: TF Serving's messages, HTTP/2 framing, the clients."""
