# nbrw itself in an image, for authors who have Docker and no Python of their own:
#
#   docker build -t nbrw .
#   docker run --rm --cap-add SYS_PTRACE -v "$PWD:/work" nbrw nbrw-build notebook.ipynb -o notebook.sif
#
# BASE may be pinned (debian:bookworm-slim@sha256:...), or be an image made by images/base/make.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates python3 python3-venv squashfs-tools \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/nbrw
COPY pyproject.toml README.md LICENSE /src/
COPY builder /src/builder
COPY runtime /src/runtime
COPY templates /src/templates
# EXTRAS=example adds what examples/climate.ipynb needs.
ARG EXTRAS=dask
RUN /opt/nbrw/bin/pip install --no-cache-dir "/src[${EXTRAS}]"
ENV PATH=/opt/nbrw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /work
CMD ["nbrw", "--help"]
