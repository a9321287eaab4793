# The worker. Build the base first (see Dockerfile.base), then:
#   docker build -t detector-worker .
#   docker run --gpus all -p 8000:8000 -v detector-data:/data detector-worker
ARG BASE=detector-worker-base

# What the base lacks, installed beside it: what is in the base already is left out.
FROM ${BASE} AS install
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && /usr/bin/python3 -m venv /opt/pip
WORKDIR /build
COPY requirements.lock requirements.tracing.lock requirements.ray.lock ./
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes \
      --prefix /opt/worker -r requirements.lock -r requirements.tracing.lock
# For apps on a Ray cluster: docker build --build-arg RAY=1 …
ARG RAY=
RUN test -z "${RAY}" || /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir \
      --require-hashes --prefix /opt/worker -r requirements.ray.lock
COPY pyproject.toml README.md LICENSE requirements.base.txt requirements.txt requirements.ray.txt requirements.tracing.txt ./
COPY siwatsystem ./siwatsystem
# Built with the setuptools of the lock, not with one that is fetched unchecked.
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-build-isolation \
      --no-index --prefix /opt/worker .

FROM ${BASE}
RUN groupadd --system --gid 10001 siwat \
 && useradd --system --create-home --uid 10001 --gid siwat siwat \
 && install -d -o siwat -g siwat /data
COPY --from=install /opt/worker /opt/venv
WORKDIR /app
COPY app.py config.json ./

# Told by /health: docker build --build-arg REVISION=$(git rev-parse HEAD) --build-arg CREATED=$(date -u +%FT%TZ)
ARG REVISION=""
ARG CREATED=""
ENV BUILD_REVISION=${REVISION} BUILD_TIME=${CREATED}

# The image listens on all addresses: whoever publishes its port decides who reaches it.
ENV SIWAT_HOST=0.0.0.0 SIWAT_DATA_DIR=/data SIWAT_CONFIG=/app/config.json \
    PYTHONUNBUFFERED=1 HOME=/home/siwat
# The user siwat, as a number: Kubernetes' runAsNonRoot does not look names up.
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('SIWAT_PORT', '8000')}/health\", timeout=2)"]
CMD ["python3", "app.py"]
