# Images of serving-bench; `make image` builds them. docs/images.md says how they are run.
#   client (default): sends load, judges results; no TensorFlow. Runs as 10001, on a read-only root with /results and /tmp.
#   locust: the client with Locust as its entry point, as the Locust operator starts it.
#   server: the same with TensorFlow, for the embedded server and for exporting models.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm AS base
ENV PATH=/opt/serving-bench/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache

FROM base AS build-client
WORKDIR /src
COPY pyproject.toml README.md ./
COPY bench bench
COPY scenarios scenarios
RUN python3 -m venv /opt/serving-bench
RUN /opt/serving-bench/bin/pip install --no-cache-dir --disable-pip-version-check '.[otel,prometheus,kubernetes]'

FROM build-client AS build-server
RUN /opt/serving-bench/bin/pip install --no-cache-dir --disable-pip-version-check '.[server]'

FROM base AS server
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="serving-bench-server" \
      org.opencontainers.image.description="Stand-in for TensorFlow Serving, and export of models" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build-server /opt/serving-bench /opt/serving-bench
RUN mkdir /models && chown 10001:10001 /models
USER 10001:10001
WORKDIR /models
VOLUME ["/models"]
EXPOSE 8500 8501
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
    CMD ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8500), 2).close()"]
ENTRYPOINT ["bench"]
CMD ["serve", "--bind=0.0.0.0", "--port=8500", "--rest_api_port=8501", "--model_name=model", "--model_base_path=/models/model"]

FROM base AS sending
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="serving-bench" \
      org.opencontainers.image.description="Load testing, true latencies and release gates for model servers" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build-client /opt/serving-bench /opt/serving-bench
RUN mkdir /results && chown 10001:10001 /results
USER 10001:10001
WORKDIR /results
VOLUME ["/results"]
# a check would compute beside the load that is measured; a load process says itself how it ended, by its exit code
HEALTHCHECK NONE

FROM sending AS locust
ENTRYPOINT ["locust"]

FROM sending AS client
ENTRYPOINT ["bench"]
CMD ["--help"]
