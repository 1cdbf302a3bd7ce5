# A worker: the agent and the child that evaluates, with torch. Runs as nobody in particular; writes only below /cache
# and /tmp.
#
# With CUDA (torch's own wheels bring its libraries; the host needs a driver and the NVIDIA container toolkit):
#   docker build -f docker/worker.Dockerfile -t ranksearch-worker:cuda .
# For CPUs, a tenth of the size:
#   docker build -f docker/worker.Dockerfile -t ranksearch-worker:cpu \
#       --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#
# TORCH_INDEX: the package index that torch and torchvision are taken from; empty: pip's own, which has CUDA builds.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/ranksearch
WORKDIR /source
COPY pyproject.toml ./
# torch in a layer of its own, which stays when only ranksearch changes: several GB with CUDA.
COPY docker/torch_requirements.py docker/
RUN python docker/torch_requirements.py pyproject.toml > torch.txt \
    && pip --python /opt/ranksearch install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --requirement torch.txt
COPY README.md CHANGELOG.md LICENSE ./
COPY ranksearch ranksearch
COPY proxy proxy
COPY service service
COPY worker worker
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && pip --python /opt/ranksearch install "$(echo /wheels/ranksearch-*.whl)[worker]"

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="ranksearch worker" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 ranksearch \
    && useradd --uid 10001 --gid ranksearch --no-create-home --home-dir /cache --shell /usr/sbin/nologin ranksearch \
    && install --directory --owner=ranksearch --group=ranksearch --mode=0700 /cache
COPY --from=build /opt/ranksearch /opt/ranksearch
ENV PATH=/opt/ranksearch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /cache
VOLUME /cache
# SIGTERM: the worker hands back what it is doing and leaves.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "worker"]
