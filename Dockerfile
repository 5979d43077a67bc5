# One image for every role: `docker run IMAGE ingest`, `docker run IMAGE worker hearing`, `docker run IMAGE migrate`.
# docs/operating/processes.md says which role needs what; docker-compose.yml runs them all.

FROM python:3.12-slim AS build
# Fewer make a smaller image: demo holds the offline engines, google and openai the vendors' (pyproject.toml).
ARG EXTRAS=all
WORKDIR /source
RUN python -m venv /opt/calltape
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY calltape calltape
COPY ingest ingest
COPY workers workers
COPY clients clients
COPY projections projections
COPY eventlog eventlog
COPY schema schema
COPY audio audio
COPY migrations migrations
COPY agents agents
# Wheels only: what has none fails here, with its name, and needs no compiler anywhere.
RUN /opt/calltape/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
        -c constraints.txt ".[${EXTRAS}]" \
    && /opt/calltape/bin/pip uninstall --yes --quiet pip

FROM python:3.12-slim
RUN useradd --system --uid 10001 --user-group --no-create-home calltape \
    && install --directory --owner=calltape --group=calltape /data
COPY --from=build /opt/calltape /opt/calltape
ENV PATH=/opt/calltape/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CALLTAPE_DATA=/data \
    CALLTAPE_HOST=0.0.0.0
USER calltape
WORKDIR /data
VOLUME /data
EXPOSE 8080 9100
# Of the doors. A worker answers on METRICS_PORT: docker-compose.yml asks there.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/readyz', timeout=3)"]
ENTRYPOINT ["calltape"]
CMD ["serve"]
