#!/bin/sh
# The hook of initramfs-tools(7): what rootman needs in an initramfs besides its boot script.
set -e

case ${1-} in
prereqs)
    echo ''
    exit 0
    ;;
esac

# shellcheck disable=SC1091  # of another package
. /usr/share/initramfs-tools/hook-functions

if [ "${BUSYBOX-}" = n ] || ! command -v busybox >/dev/null; then
    echo 'rootman: the initramfs needs busybox (hint: apt-get install busybox)' >&2
    exit 1
fi
manual_add_modules overlay fuse
# An ordinary system boots as ever, with the same initramfs.
mkdir -p "$DESTDIR/conf/conf.d"
cat >"$DESTDIR/conf/conf.d/rootman" <<'END'
case " $(cat /proc/cmdline)" in
*' rootman.'*) BOOT=rootman ;;
esac
END
