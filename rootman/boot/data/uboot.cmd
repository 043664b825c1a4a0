
# Which tree boots: the machine of spec/50-boot.md, for the hush shell of U-Boot 2023.01.
#
# Run with these variables set:
#   rootman_part     the filesystem of the store: virtio 0:1
#   rootman_store    the path of the store there: /rootfs
#   rootman_sector   where on that filesystem the boot state lies, in sectors, hexadecimal
#   rootman_start    where on its disk the filesystem begins, in sectors, hexadecimal
#   rootman_root     what the kernel is to know of where the store is: root=UUID=...
#
# U-Boot follows a link, and can neither read it nor list a directory, so that a tree names its
# version itself (boot/rootman.env), and there are fewer candidates than elsewhere (BT-31). There
# are no functions here, but variables that are run.

setenv rootman_a ${kernel_addr_r}
setenv rootman_b
setenv rootman_c
setexpr rootman_b ${rootman_a} + 1000
setexpr rootman_c ${rootman_a} + 2000

# Read the boot state (BT-2), and whether its sector is where it is said to be (BT-30).
setenv rootman_f_read 'setenv rootman_block ${rootman_store}/.rootman/boot/grubenv; setenv rootman_pending; setenv rootman_tries; setenv rootman_bad; setenv rootman_once; setenv rootman_rescue; setenv rootman_limit; setenv rootman_writable; if test -e ${rootman_part} ${rootman_block}; then if load ${rootman_part} ${rootman_a} ${rootman_block}; then if test ${filesize} = 400; then run rootman_f_import; run rootman_f_probe; fi; fi; fi'
setenv rootman_f_import 'env import -t ${rootman_a} ${filesize} rootman_pending rootman_tries rootman_bad rootman_once rootman_rescue rootman_limit'
setenv rootman_f_probe 'setenv rootman_lba; if test -n "${rootman_sector}"; then setexpr rootman_lba ${rootman_start} + ${rootman_sector}; fi; if test -n "${rootman_lba}"; then ${devtype} dev ${devnum}; if ${devtype} read ${rootman_c} ${rootman_lba} 1; then if cmp.b ${rootman_a} ${rootman_c} 200; then setenv rootman_writable 1; fi; fi; fi'

# Write it: one sector, in place, and then look whether the file has it (BT-3 BT-30).
setenv rootman_f_write 'mw.b ${rootman_b} 23 400; cp.b ${rootman_a} ${rootman_b} 19; setexpr rootman_x ${rootman_b} + 19; setenv filesize 1; env export -t ${rootman_x} rootman_pending rootman_tries rootman_bad rootman_once rootman_rescue rootman_limit; setexpr rootman_x ${rootman_x} + ${filesize}; setexpr rootman_x ${rootman_x} - 1; mw.b ${rootman_x} 23 1; ${devtype} write ${rootman_b} ${rootman_lba} 1; load ${rootman_part} ${rootman_c} ${rootman_block}; cmp.b ${rootman_b} ${rootman_c} 200'

# Whether the tree rootman_this is bad.
setenv rootman_f_is_bad 'setenv rootman_hit; for rootman_w in ${rootman_bad}; do if test "${rootman_w}" = "${rootman_this}"; then setenv rootman_hit 1; fi; done; test -n "${rootman_hit}"'

# Whether the tree at rootman_from can be loaded; its label is read (BT-8).
setenv rootman_f_label 'setenv rootman_tree; setenv rootman_number; setenv rootman_linux; setenv rootman_initrd; setenv rootman_args; if test -e ${rootman_part} ${rootman_from}/boot/rootman.env; then load ${rootman_part} ${rootman_c} ${rootman_from}/boot/rootman.env; env import -t ${rootman_c} ${filesize} rootman_tree rootman_number rootman_linux rootman_initrd rootman_args; fi; if test -n "${rootman_linux}"; then test -e ${rootman_part} ${rootman_from}${rootman_linux}; else false; fi'

# Look at the trees of the version that the label has said: rootman_name is the only one, none
# where there are several. Fails where none of them may boot.
setenv rootman_f_version 'setenv rootman_name; setenv rootman_found; setenv rootman_fit; for rootman_r in 0 .1 .2 .3 .4 .5 .6 .7 .8 .9; do if test "${rootman_r}" = 0; then setenv rootman_s; else setenv rootman_s ${rootman_r}; fi; if test -e ${rootman_part} ${rootman_store}/.rootman/trees/${rootman_number}${rootman_s}/seal.json; then setenv rootman_this ${rootman_tree}${rootman_s}; if test -e ${rootman_part} ${rootman_store}/${rootman_this}/boot/rootman.env; then run rootman_f_see; fi; fi; done; test -n "${rootman_fit}"'
setenv rootman_f_see 'if test -n "${rootman_found}"; then setenv rootman_name; else setenv rootman_name ${rootman_this}; fi; setenv rootman_found 1; if test -n "${rootman_any}"; then setenv rootman_fit 1; else if run rootman_f_is_bad; then true; else setenv rootman_fit 1; fi; fi'

# Take the first candidate, bad ones too with rootman_any (BT-5).
setenv rootman_f_first 'for rootman_l in current previous; do if test -z "${rootman_why}"; then setenv rootman_from ${rootman_store}/${rootman_l}; if run rootman_f_label; then if run rootman_f_version; then setenv rootman_why ${rootman_l}; fi; fi; fi; done; if test -z "${rootman_why}"; then run rootman_f_rescue; fi'
setenv rootman_f_rescue 'if test -n "${rootman_rescue}"; then setenv rootman_this ${rootman_rescue}; setenv rootman_fit 1; if test -z "${rootman_any}"; then if run rootman_f_is_bad; then setenv rootman_fit; fi; fi; if test -n "${rootman_fit}"; then setenv rootman_from ${rootman_store}/${rootman_this}; if run rootman_f_label; then setenv rootman_name ${rootman_this}; setenv rootman_why rescue; fi; fi; fi'
setenv rootman_f_once 'setenv rootman_from ${rootman_store}/${rootman_once}; if run rootman_f_label; then setenv rootman_name ${rootman_once}; setenv rootman_why once; setenv rootman_free 1; fi; setenv rootman_once; setenv rootman_changed 1'

# What is told of U-Boot's own counter, where the owner has set its limit; it is no number where it
# is not above zero. Whether it has counted further than it may (BT-32).
setenv rootman_f_told 'setenv rootman_told; if test "${bootlimit}" -gt 0; then if test "${bootcount}" -gt 0; then setenv rootman_told "rootman.bootcount=${bootcount} rootman.bootlimit=${bootlimit}"; fi; fi'
setenv rootman_f_is_used_up 'setenv rootman_hit; if test -n "${rootman_told}"; then if test "${rootman_limit}" -gt 0; then if test "${bootcount}" -gt "${rootman_limit}"; then setenv rootman_hit 1; fi; fi; fi; test -n "${rootman_hit}"'

# A pending tree that has no attempt left is bad (BT-7).
setenv rootman_f_settle 'setenv rootman_hit; for rootman_w in 1 2 3 4 5 6 7 8 9; do if test "${rootman_tries}" = ${rootman_w}; then setenv rootman_hit 1; fi; done; if test -z "${rootman_hit}"; then run rootman_f_fail; else if run rootman_f_is_used_up; then run rootman_f_fail; fi; fi'
setenv rootman_f_fail 'setenv rootman_this ${rootman_pending}; if run rootman_f_is_bad; then true; else if test -n "${rootman_bad}"; then setenv rootman_bad "${rootman_bad} ${rootman_pending}"; else setenv rootman_bad ${rootman_pending}; fi; fi; setenv rootman_pending; setenv rootman_tries; setenv rootman_limit; setenv rootman_changed 1'

# One attempt less for a tree that is pending, unless rootman_free says that it is none by its
# turn; after one of another tree U-Boot's counter says nothing of the pending one (BT-32).
setenv rootman_f_count 'if test -n "${rootman_name}"; then setenv rootman_hit; if test -z "${rootman_free}"; then if test "${rootman_name}" = "${rootman_pending}"; then setenv rootman_hit 1; fi; fi; if test -n "${rootman_hit}"; then setexpr rootman_tries ${rootman_tries} - 1; setenv rootman_changed 1; else if test -n "${rootman_limit}"; then setenv rootman_limit; setenv rootman_changed 1; fi; fi; fi'

# Where nothing is pending, on the disk, U-Boot's counter begins anew: without its command, or
# where it counts elsewhere, nothing happens (BT-33).
setenv rootman_f_reset 'if test -n "${rootman_told}"; then if test -n "${rootman_writable}"; then setenv rootman_was ${rootman_pending}; fi; if test -z "${rootman_was}"; then bootcount reset; fi; fi'

# Choose, and keep what came of it before anything is loaded (BT-6). What cannot be written is
# left to the initramfs to count (BT-30): where that shows at the end, all is chosen again. Sets
# rootman_from, and rootman_which and rootman_told for the kernel.
setenv rootman_f_choose 'run rootman_f_read; run rootman_f_told; setenv rootman_was ${rootman_pending}; setenv rootman_changed; setenv rootman_why; setenv rootman_any; setenv rootman_free; setenv rootman_which; setenv rootman_name; if test -n "${rootman_pending}"; then run rootman_f_settle; fi; if test -z "${rootman_writable}"; then setenv rootman_once; fi; if test -n "${rootman_once}"; then run rootman_f_once; fi; if test -z "${rootman_why}"; then run rootman_f_first; if test -z "${rootman_why}"; then setenv rootman_any 1; setenv rootman_free 1; run rootman_f_first; if test -n "${rootman_why}"; then setenv rootman_why last; fi; fi; fi; if test -n "${rootman_writable}"; then run rootman_f_count; if test -n "${rootman_changed}"; then if run rootman_f_write; then true; else setenv rootman_sector; run rootman_f_choose; fi; fi; fi; run rootman_f_reset; run rootman_f_which; test -n "${rootman_why}"'
setenv rootman_f_which 'if test -n "${rootman_name}"; then setenv rootman_which rootman.tree=${rootman_name}; if test -z "${rootman_writable}"; then setenv rootman_which "${rootman_which} rootman.count"; fi; else if test -n "${rootman_why}"; then setenv rootman_which rootman.version=${rootman_tree}; fi; fi'
