FROM python:3.12 AS dev
ENV PYTHONPATH=/lib-shop PYTHONUNBUFFERED=1 PYTHONDEVMODE=1
COPY lib/python /lib-shop

FROM python:3.12 AS prod
ENV PYTHONPATH=/lib-shop PYTHONUNBUFFERED=1
COPY lib/python /lib-shop
RUN python -m compileall -q /lib-shop
