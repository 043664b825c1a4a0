#!/bin/sh
# The network reaches one of the servers that /etc/rootman/health.conf, or the environment, names:
#     ROOTMAN_HEALTH_NETWORK="https://repo.example.org 192.0.2.1:22"
# by a URL, or a host and a port (443 without). Where none is named there is nothing to say.
if [ -z "${ROOTMAN_HEALTH_NETWORK-}" ] && [ -r /etc/rootman/health.conf ]; then
    # shellcheck disable=SC1091  # of the administrator
    . /etc/rootman/health.conf
fi
[ -n "${ROOTMAN_HEALTH_NETWORK-}" ] || exit 0

# A network may come up later than all else: so many seconds are waited for it.
# shellcheck disable=SC2086  # they are words
exec python3 - "${ROOTMAN_HEALTH_PATIENCE:-45}" $ROOTMAN_HEALTH_NETWORK <<'END'
import socket, sys, time
from urllib.parse import urlsplit

deadline = time.monotonic() + float(sys.argv[1])
while True:
    for text in sys.argv[2:]:
        try:
            parts = urlsplit(text if "://" in text else f"//{text}")
            if not parts.hostname:
                raise ValueError("no host")
            port = parts.port or {"http": 80}.get(parts.scheme, 443)
            socket.create_connection((parts.hostname, port), timeout=5).close()
        except (OSError, ValueError) as error:
            reason = f"{text}: {error}"
        else:
            print(f"{text} can be reached")
            sys.exit(0)
    if time.monotonic() >= deadline:
        print(reason)
        sys.exit(1)
    time.sleep(1)
END
