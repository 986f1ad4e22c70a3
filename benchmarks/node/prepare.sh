#!/bin/sh
# Installs and bundles the handler into the folder $1, and says the version of Node.js.
set -eu
cd "$(dirname "$0")"
cp package.json package-lock.json index.mjs "$1"
cd "$1"
# The runtime client compiles curl and itself, which takes minutes, once.
if [ ! -e .installed ] || ! cmp -s package-lock.json .installed; then
  npm ci --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json .installed
fi
npm run build >&2
# The client reads the handler from the environment first. There the host has put the name of the program.
printf '#!/bin/sh\nexport _HANDLER=dist/index.handler; exec %s %s "$_HANDLER"\n' \
  "$(node -p process.execPath)" "$1/node_modules/aws-lambda-ric/index.mjs" >bootstrap
chmod 755 bootstrap
echo "Node.js $(node --version)"
