#!/bin/sh
# What is the same for all versions is where it belongs: the initramfs notes what is not.
lacks=$(cat /run/rootman/lacks 2>/dev/null)
[ -n "$lacks" ] || exit 0
echo "no state: $lacks" | tr '\n' ' '
exit 1
