# The service and the agent CLI it starts, for a machine that trusts neither: an ordinary user, a read-only root.
#
#   docker run --read-only --tmpfs /tmp:exec --tmpfs /home/agent:uid=10001,gid=10001,mode=0700 \
#     -v agent-data:/data -e ANTHROPIC_API_KEY -p 127.0.0.1:8080:8080 agent-service
#
# Written to: /data (store, job logs, base clone, workspaces; a volume), /tmp, and /home/agent if something is mounted there.
# `exec`: agents run what they build there.
ARG NODE_IMAGE=node:24.21-bookworm-slim

# What production needs of npm. None of these packages has an install script, and none may come in unseen.
FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts

# The agent CLI in the version that the tests run with. Its install script puts the platform's program in place: one file.
FROM ${NODE_IMAGE} AS claude
WORKDIR /build
COPY package.json ./
RUN version="$(node -p "require('./package.json').devDependencies['@anthropic-ai/claude-code']")" \
  && npm install --global --prefix /opt/claude "@anthropic-ai/claude-code@${version}" \
  && cp --dereference /opt/claude/bin/claude /build/claude \
  && test "$(env -i HOME=/tmp PATH=/usr/bin:/bin /build/claude --version | cut -d ' ' -f 1)" = "${version}"

# The supervisor, the copier of clones and the scanner of trees, static: they need nothing of the final image. Without them
# jobs would be held together less surely, start later and end later: no build.
FROM ${NODE_IMAGE} AS supervisor
WORKDIR /build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY native/supervise.c native/copytree.c native/git-index.c native/git-index.h native/listing.c native/listing.h native/renewal.c \
  native/renewal.h native/scantree.c native/build.sh ./
RUN sh build.sh --strict \
  && test "$(./supervise self-test)" = 'supervise 2' \
  && ./copytree prepare . | grep -q '^copytree 2 ' \
  && ./scantree serve </dev/null

FROM ${NODE_IMAGE}
# tini is PID 1: node there would keep zombies. bubblewrap is for ISOLATION=namespace. The rest is what git needs to clone over https and ssh, to unlock a clone, and for LFS.
# The package of git-lfs lets every git on the system fetch large files at each checkout: an agent's would fail at it, without credentials. Clones that have them say so themselves.
RUN apt-get update \
  && apt-get install -y --no-install-recommends bubblewrap ca-certificates git git-crypt git-lfs openssh-client tini \
  && git lfs uninstall --system --skip-repo \
  && rm -rf /var/lib/apt/lists/*
# A numeric user, so that Kubernetes can see that it is not root. The CLI refuses to skip its permission prompts as root.
RUN groupadd --gid 10001 agent \
  && useradd --uid 10001 --gid 10001 --home-dir /home/agent --create-home --shell /usr/sbin/nologin agent \
  && install --directory --owner=10001 --group=10001 --mode=0700 /data
WORKDIR /app
COPY --from=claude /build/claude /usr/local/bin/claude
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=supervisor /build/supervise /build/copytree /build/scantree ./native/
COPY package.json LICENSE ./
COPY src ./src
# Each start is then half a second and 35 MB cheaper. Read by the user below, written by nobody.
ENV NODE_COMPILE_CACHE=/app/compiled
# One pool of memory for all threads: what one gives back the others can use (glibc's default is eight per processor).
ENV MALLOC_ARENA_MAX=1
COPY native/precompile.sh ./native/
RUN sh native/precompile.sh && chmod -R a+rX compiled && test -n "$(ls compiled)"
# The image runs in a network of its own, so it listens on all of it; what is published is the operator's choice.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 DATA_DIR=/data HOME=/home/agent
USER 10001:10001
VOLUME /data
EXPOSE 8080
# Alive is all it asks: a full queue or a slow disk is no reason to restart.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/livez').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["node", "--max-semi-space-size=4", "src/main.ts"]
