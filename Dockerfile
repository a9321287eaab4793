# The worker. Build the base first (see Dockerfile.base), then:
#   docker build -t detector-worker .
#   docker run --gpus all -p 8000:8000 -v detector-data:/data detector-worker
ARG BASE=detector-worker-base
FROM ${BASE}

RUN useradd --system --create-home --uid 10001 siwat \
 && mkdir -p /data && chown siwat:siwat /data
WORKDIR /app
COPY requirements.txt ./
RUN pip install -r requirements.txt
COPY pyproject.toml README.md LICENSE requirements.base.txt app.py config.json ./
COPY siwatsystem ./siwatsystem
RUN pip install --no-deps .

# The image listens on all addresses: whoever publishes its port decides who reaches it.
ENV SIWAT_HOST=0.0.0.0 SIWAT_DATA_DIR=/data SIWAT_CONFIG=/app/config.json \
    PYTHONUNBUFFERED=1 HOME=/home/siwat
USER siwat
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('SIWAT_PORT', '8000')}/health\", timeout=2)"]
CMD ["python3", "app.py"]
