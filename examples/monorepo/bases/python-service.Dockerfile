FROM base AS service
ARG SERVICE
WORKDIR /app
COPY services/$SERVICE/*.py ./
EXPOSE 8080
CMD ["python", "main.py"]

FROM service AS prod
RUN rm -f test_*.py && python -m compileall -q .
USER 1000

FROM service AS dev
ENV SHOP_DEBUG=1
