FROM tools AS build
ARG SERVICE
ARG TAGS
ARG LDFLAGS
COPY services/$SERVICE services/$SERVICE
RUN go build -tags "$TAGS" -ldflags "$LDFLAGS" -o /out/service ./services/$SERVICE

FROM base AS service
COPY --from=build /out/service /bin/service
EXPOSE 8080
CMD ["/bin/service"]

FROM service AS prod
USER 1000

FROM service AS dev
ENV SHOP_DEBUG=1
