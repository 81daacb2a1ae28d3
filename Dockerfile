FROM python:3.13-slim-bookworm AS packages
RUN python -m venv /venv
WORKDIR /build
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.13-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --home-dir /app --no-create-home app
WORKDIR /app
COPY --from=packages /venv /venv
COPY manage.py ./
COPY billing_dashboard billing_dashboard
COPY templates templates
COPY static static
COPY usage usage
# The settings ask for secrets; these serve this one command and stay in no layer's environment.
RUN SECRET_KEY=unused TOKEN_ENCRYPTION_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    python manage.py collectstatic --no-input \
    && chown app data
USER 10001
EXPOSE 8000
# Any answer will do: a worker that is stuck is no reason to restart the pages that tell of it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["python", "-c", "\
from http.client import HTTPConnection; \
web = HTTPConnection('127.0.0.1', 8000, timeout=8); web.request('GET', '/healthz'); web.getresponse()"]
CMD ["gunicorn", "billing_dashboard.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", \
    "--workers", "2", "--threads", "4", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
