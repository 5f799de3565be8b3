FROM scratch AS prod
COPY passwd /etc/passwd

FROM tools AS dev
COPY passwd /etc/passwd
