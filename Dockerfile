# syntax=docker/dockerfile:1
# The app as a container: docker build -t parley . && docker run --rm -p 127.0.0.1:8000:8000 -v parley:/app/.parley parley
# It runs as a Hugging Face Space too (README.md: app_port equals PORT; a Space runs as uid 1000).
# 3.12 and not the oldest Python that is supported: 3.11's asyncio.wait_for can lose a cancellation, and with it a Stop.

FROM python:3.12-slim AS packages
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# uv itself as the lock has it, hash and all.
RUN awk '/^[^ #]/ { keep = /^uv==/ } keep' requirements.lock > uv.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r uv.txt
# One lock for everything: as a constraint it fixes versions and hashes, and what is chosen is the product with its
# extras, without the tools of the development group. A package that the lock has not, or has with other hashes, fails.
RUN python -m venv --without-pip /venv \
    && uv pip install --python /venv/bin/python --no-cache --compile-bytecode --require-hashes \
        --all-extras --requirements pyproject.toml --constraints requirements.lock

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 user
ENV HOME=/home/user \
    PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000
COPY --from=packages /venv /venv
WORKDIR /app
# The user owns /app: Chainlit writes uploads and translations beside app.py, Parley its database into .parley.
RUN mkdir .parley && chown -R user:user /app
COPY --chown=user:user app.py chainlit.md LICENSE ./
COPY --chown=user:user .chainlit .chainlit
COPY --chown=user:user public public
COPY --chown=user:user data_layer data_layer
COPY --chown=user:user providers providers
COPY --chown=user:user parley parley
USER 1000
VOLUME /app/.parley
EXPOSE 8000
# http.client and not urllib: it takes no notice of a proxy in the environment.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=1s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
# No shell in between: SIGTERM reaches the server, which ends its turns in order.
CMD ["python", "-m", "parley", "serve"]
