"""Manifests for load and gate in a Kubernetes cluster: `plain` Jobs, with kustomize, and for the Locust `operator`."""
