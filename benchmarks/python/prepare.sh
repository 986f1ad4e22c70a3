#!/bin/sh
# Installs the handler into the folder $1, and says the version of Python.
set -eu
cd "$(dirname "$0")"
if [ ! -e "$1/.installed" ] || [ requirements.txt -nt "$1/.installed" ]; then
  python3 -m venv --clear "$1/venv"
  "$1/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  touch "$1/.installed"
fi
cp handler.py "$1"
printf '#!/bin/sh\nexec %s -m awslambdaric handler.handler\n' "$1/venv/bin/python" >"$1/bootstrap"
chmod 755 "$1/bootstrap"
"$1/venv/bin/python" --version
