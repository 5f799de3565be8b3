# RUN wants a shell, and there is none yet: so the first step names its program.
FROM scratch
COPY --from=bin --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
CMD ["sh"]
