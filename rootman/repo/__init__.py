"""The repository: releases, manifests and objects as files that any web server can serve."""
