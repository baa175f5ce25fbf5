"""Start a declared server, wait until it is ready, describe it and always stop it."""
