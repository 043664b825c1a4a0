
# Load the kernel of the tree that was chosen, and start it (BT-8). The device tree is that of the
# firmware, unless it has loaded another one to fdt_addr_r.
setenv rootman_f_start 'setenv bootargs "${rootman_root} ro ${rootman_which} ${rootman_told} ${rootman_args}"; setenv rootman_rd -; load ${rootman_part} ${kernel_addr_r} ${rootman_from}${rootman_linux}; if test -n "${rootman_initrd}"; then load ${rootman_part} ${ramdisk_addr_r} ${rootman_from}${rootman_initrd}; setenv rootman_rd ${ramdisk_addr_r}:${filesize}; fi; setenv rootman_fdt ${fdtcontroladdr}; if test -n "${fdt_addr}"; then setenv rootman_fdt ${fdt_addr}; fi; booti ${kernel_addr_r} ${rootman_rd} ${rootman_fdt}; bootz ${kernel_addr_r} ${rootman_rd} ${rootman_fdt}'
if run rootman_f_choose; then
    echo rootman: ${rootman_which} ${rootman_why}
    if test -n "${rootman_told}"; then
        echo rootman: ${rootman_told}
        if test -z "${altbootcmd}"; then
            echo rootman: above its limit U-Boot stops at its prompt: set altbootcmd to: run bootcmd
        fi
    fi
    run rootman_f_start
fi
echo rootman: no tree in ${rootman_store} can be loaded
