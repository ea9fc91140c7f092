# docker build -t harness .
# docker run --rm --network none -v "$PWD:/work" harness score campaign.yaml      # offline
# docker run --rm -e OPENAI_API_KEY -v "$PWD:/work" harness run campaign.yaml --trust
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE config.yaml ./
COPY harness harness
COPY prompts prompts
COPY examples examples
COPY docs/campaign.schema.json docs/
RUN python -m venv /opt/harness && /opt/harness/bin/pip install --no-cache-dir ".[local,sign]"

FROM python:3.12-slim
COPY --from=build /opt/harness /opt/harness
RUN useradd --create-home --uid 10001 auditor && mkdir /work && chown auditor /work
USER auditor
WORKDIR /work
ENV PATH=/opt/harness/bin:$PATH PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["harness"]
CMD ["--help"]
