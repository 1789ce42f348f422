# The command `limit-engine` with its kernel compiled, for workers and one-shot commands; scripts/ and policies/ lie in the working directory.
FROM python:3.13.14-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# faust-streaming has a wheel for x86 only; elsewhere it is compiled.
RUN [ "$(uname -m)" = x86_64 ] || { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev zlib1g-dev; }
RUN python -m venv /opt/limit-engine
ENV PATH=/opt/limit-engine/bin:$PATH
WORKDIR /build

# What the engine stands on changes seldom: a layer of its own. confluent-kafka is for scripts/, which are not in the wheel.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], "confluent-kafka", sep="\n")' \
    >requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt

# The files get a time in whole seconds: layers cut it off there, and numba compiles anew when a source's time is not the one it knew.
COPY README.md LICENSE ./
COPY engine engine
COPY schemas schemas
COPY policies policies
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --no-compile . \
    && packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && find "$packages/engine" "$packages/schemas" -exec touch --date=2000-01-01T00:00:00Z {} + \
    && python -m compileall -q "$packages/engine" "$packages/schemas"


FROM python:3.13.14-slim-trixie

# Compiled for any processor of the architecture, so that what is compiled here is found there; measured, it is no slower: the kernel does not
# vectorise.
ENV NUMBA_CPU_NAME=generic
ENV XDG_CACHE_HOME=/var/cache/limit-engine PATH=/opt/limit-engine/bin:$PATH PYTHONUNBUFFERED=1

RUN useradd --uid 10001 --no-create-home --home-dir /app limits \
    && install --directory --owner=limits /app "$XDG_CACHE_HOME"
COPY --from=build /opt/limit-engine /opt/limit-engine
USER limits
RUN python -c 'from engine.stream.warm_up import warm_up; warm_up()'

WORKDIR /app
COPY policies policies
COPY scripts scripts
ENTRYPOINT ["limit-engine"]
CMD ["run"]
