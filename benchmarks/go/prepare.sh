#!/bin/sh
# Builds the handler into the folder $1, and says the version of Go.
set -eu
cd "$(dirname "$0")"
# From Debian's packages alone, so that no module is downloaded.
sources=/usr/share/gocode
if ! command -v go >/dev/null || [ ! -e "$sources/src/github.com/aws/aws-sdk-go-v2" ]; then
  echo 'Go or its AWS SDK is missing (on Debian: apt-get install golang-go golang-github-aws-aws-sdk-go-v2-dev)' >&2
  exit 1
fi
GO111MODULE=off GOPATH="$sources" GOFLAGS=-trimpath GOCACHE="$1/cache" CGO_ENABLED=0 \
  go build -ldflags='-s -w' -o "$1/bootstrap" main.go
go version | cut -d ' ' -f 3
