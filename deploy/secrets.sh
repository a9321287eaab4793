#!/bin/sh
# Makes what deploy/compose.yaml reads from deploy/secrets/: a random token or password for each name. What is
# there already is kept, so it may be run again.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
# Docker hands files to containers with the mode they have here, and the containers' users are not ours: the
# files can be read by anybody who may enter the folder, which is nobody but its owner.
chmod 700 secrets
for name in control_token view_token redis_password postgres_password grafana_password; do
  if [ -s "secrets/$name" ]; then
    echo "kept  deploy/secrets/$name"
  else
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name.new"
    chmod 644 "secrets/$name.new"
    mv "secrets/$name.new" "secrets/$name"
    echo "made  deploy/secrets/$name"
  fi
done
