# shellcheck shell=sh disable=SC2154  # moddir is dracut's
#
# The module of dracut(8), read where an initrd is made: what rootman needs in it besides what it
# runs there. It is at work only where the kernel command line has an option of rootman.

check() {
    require_binaries chroot dd modprobe mount readlink umount uname
}

depends() {
    echo base
}

installkernel() {
    instmods fuse overlay
}

install() {
    inst_multiple cat chmod chroot dd mkdir modprobe mount mv readlink rm umount uname
    inst_simple "$moddir/rootman.sh" /lib/rootman.sh
    # systemd mounts what root= names before that; else it is done here, in the place of it.
    if dracut_module_included systemd; then
        inst_hook pre-pivot 01 "$moddir/bring-up.sh"
    else
        inst_hook mount 01 "$moddir/bring-up.sh"
    fi
}
