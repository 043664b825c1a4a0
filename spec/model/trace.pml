/* Each step and each call in words: what the replay of a counterexample shows, and what a
 * test compares with the calls of the real commands. It changes nothing. */

inline tell_stage(s) {
	if
	:: KIND(s) == 0 -> printf(" staging/building.%d", VERSION(s))
	:: KIND(s) == 1 -> printf(" staging/deleting.%d", VERSION(s))
	:: KIND(s) == 2 -> printf(" staging/retired.%d", VERSION(s))
	:: KIND(s) == 3 -> printf(" staging/spare.%d", VERSION(s))
	fi
}

inline tell(o, a, b) {
	if
	:: o == mkdir -> printf("> mkdir"); tell_stage(a)
	:: o == take_spare || o == keep_spare -> printf("> move"); tell_stage(a); tell_stage(b)
	:: o == move_seal -> printf("> move staging/building.%d/seal trees/%d", a, a)
	:: o == move_root -> printf("> move staging/building.%d/root olpc.%d", a, a)
	:: o == move_meta ->
		printf("> move");
		tell_stage(a);
		printf("/seal");
		tell_stage(a);
		printf("/meta")
	:: o == retire_root -> printf("> move olpc.%d staging/retired.%d/root", a, a)
	:: o == retire_record -> printf("> move trees/%d staging/retired.%d/meta", a, a)
	:: o == delete_root -> printf("> move olpc.%d staging/deleting.%d", a, a)
	:: o == symlink -> printf("> symlink staging/link")
	:: o == rename_previous -> printf("> rename staging/link previous")
	:: o == rename_current -> printf("> rename staging/link current")
	:: o == exchange -> printf("> exchange current previous")
	:: o == unlink_current -> printf("> unlink current")
	:: o == make_root || o == change_root -> printf("> change"); tell_stage(a); printf("/root")
	:: o == change_seal -> printf("> change"); tell_stage(a); printf("/seal")
	:: o == remove_stage -> printf("> remove"); tell_stage(a)
	:: o == remove_meta -> printf("> remove"); tell_stage(a); printf("/meta")
	:: o == remove_record -> printf("> remove trees/%d", a)
	:: o == remove_link -> printf("> remove staging/link")
	:: o == fsync_store -> printf("> fsync .")
	:: o == fsync_trees -> printf("> fsync trees")
	:: o == fsync_staging -> printf("> fsync staging")
	:: o == syncfs -> printf("> syncfs")
	:: o == freeze_thaw -> printf("> freeze_thaw")
	:: o == rest -> printf("> rest")
	:: else -> printf(". %e", o)    /* the rest of what began before */
	fi;
	printf("\n")
}
