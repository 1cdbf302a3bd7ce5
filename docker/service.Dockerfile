# The service: API, search, dashboard. Holds no torch; runs as nobody in particular; writes only below /data and /tmp.
#
#   docker build -f docker/service.Dockerfile -t ranksearch-service .
#
# The tests run on Python 3.11; newer ones can be asked for: --build-arg PYTHON=3.13
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY ranksearch ranksearch
COPY proxy proxy
COPY service service
COPY worker worker
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/ranksearch \
    && pip --python /opt/ranksearch install "$(echo /wheels/ranksearch-*.whl)[service]"

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="ranksearch service" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 ranksearch \
    && useradd --uid 10001 --gid ranksearch --no-create-home --home-dir /data --shell /usr/sbin/nologin ranksearch \
    && install --directory --owner=ranksearch --group=ranksearch --mode=0700 /data
COPY --from=build /opt/ranksearch /opt/ranksearch
ENV PATH=/opt/ranksearch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RANKSEARCH_SERVICE_DATA_DIR=/data \
    RANKSEARCH_SERVICE_HOST=0.0.0.0 \
    RANKSEARCH_SERVICE_PORT=8000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "service"]
