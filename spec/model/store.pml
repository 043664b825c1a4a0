/* What is in a store, and what each call changes in it.
 *
 * The same effect() serves the cache, which is what running programs see, and the
 * disk, which is what a power cut leaves. A change follows its directory: where a
 * rename did not reach the disk, what was done below the new name is found below the old.
 */

#ifndef VERSIONS
#define VERSIONS 3
#endif

#define NONE  0
#define PART  (VERSIONS + 1)    /* neither one version nor another */
#define SOUND 1                 /* of a record: all of it is there */
#define TORN  2

/* Stages, in the order in which recovery takes them. */
#define BUILDING(n) (n)
#define DELETING(n) (VERSIONS + (n))
#define RETIRED(n)  (2 * VERSIONS + (n))
#define SPARE(n)    (3 * VERSIONS + (n))
#define STAGES      (4 * VERSIONS)
#define VERSION(s)  ((((s) - 1) % VERSIONS) + 1)
#define KIND(s)     (((s) - 1) / VERSIONS)      /* 0 building, 1 deleting, 2 retired, 3 spare */

typedef Stage {
	bit here;
	byte root;              /* NONE, the version that the tree is, PART */
	bit meta;
	byte seal               /* NONE, SOUND, TORN */
}

typedef Store {
	byte current;           /* the version that the link leads to, NONE where there is no link */
	byte previous;
	byte link;              /* staging/link: litter */
	byte tree[VERSIONS + 1];        /* olpc.N: NONE, N, PART */
	byte record[VERSIONS + 1];      /* trees/N: NONE, SOUND, TORN */
	Stage stage[STAGES + 1]
}

#define CACHE 0
#define DISK  1
Store at[2];
#define now at[CACHE]

#define SEALED(n) (now.tree[n] != NONE && now.record[n] != NONE)

/* Whether both links, where they are, lead to a tree. */
#define RESOLVES(w) \
	((at[w].current == NONE || at[w].tree[at[w].current] != NONE) && \
	 (at[w].previous == NONE || at[w].tree[at[w].previous] != NONE))

mtype = {
	/* Names. */
	mkdir, take_spare, keep_spare, move_seal, move_root, move_meta, retire_root, retire_record,
	delete_root, symlink, rename_previous, rename_current, exchange, unlink_current,
	/* What is below a name: directories and links, then the content of files. */
	make_root, change_root, fill_root, change_seal, fill_seal,
	/* Removing takes more than one call, and any number of them may be done. */
	remove_stage, remove_root, removed_stage, remove_record, removed_record, remove_meta,
	remove_link,
	/* And what brings all that to the disk. */
	fsync_store, fsync_trees, fsync_staging, syncfs, freeze_thaw,
	/* Nothing, between two commands. */
	rest
};

/* The content of files goes its own way to the disk. */
#define IS_CONTENT(o) (o == fill_root || o == fill_seal)

#define IN_STORE(o) \
	(o == move_root || o == retire_root || o == delete_root || o == rename_previous || \
	 o == rename_current || o == exchange || o == unlink_current)
#define IN_TREES(o) \
	(o == move_seal || o == retire_record || o == remove_record || o == removed_record)
#define IN_STAGING(o) \
	(o == mkdir || o == take_spare || o == keep_spare || o == symlink || o == removed_stage || \
	 o == remove_link)

/* Something below the tree of stage s changes, wherever on w that is: in the stage, in the
 * spare b that it was (NONE: it was none), or still in olpc.N. */
inline change(w, s, b) {
	if
	:: at[w].stage[s].root != NONE -> at[w].stage[s].root = PART
	:: at[w].stage[s].root == NONE && b != NONE && at[w].stage[SPARE(b)].root != NONE ->
		at[w].stage[SPARE(b)].root = PART
	:: at[w].stage[s].root == NONE && b == NONE && at[w].tree[VERSION(s)] != NONE ->
		at[w].tree[VERSION(s)] = PART
	:: else -> skip
	fi
}

/* The last of the content arrives that makes the tree of stage s the version v. */
inline fill(w, s, v) {
	if
	:: at[w].stage[s].root == PART -> at[w].stage[s].root = v
	:: at[w].stage[s].root == NONE && at[w].tree[VERSION(s)] == PART ->
		at[w].tree[VERSION(s)] = v
	:: else -> skip
	fi
}

inline clear_stage(w, s) {
	at[w].stage[s].here = 0;
	at[w].stage[s].root = NONE;
	at[w].stage[s].meta = 0;
	at[w].stage[s].seal = NONE
}

inline move_stage(w, s, t) {
	at[w].stage[t].here = at[w].stage[s].here;
	at[w].stage[t].root = at[w].stage[s].root;
	at[w].stage[t].meta = at[w].stage[s].meta;
	at[w].stage[t].seal = at[w].stage[s].seal;
	clear_stage(w, s)
}

/* Carry out call o with arguments a and b in w. */
inline effect(w, o, a, b) {
	if
	:: o == mkdir -> at[w].stage[a].here = 1
	:: o == take_spare || o == keep_spare -> move_stage(w, a, b)
	:: o == move_seal ->
		at[w].record[a] = at[w].stage[BUILDING(a)].seal;
		at[w].stage[BUILDING(a)].seal = NONE
	:: o == move_root ->
		at[w].tree[a] = at[w].stage[BUILDING(a)].root;
		at[w].stage[BUILDING(a)].root = NONE
	:: o == move_meta ->
		at[w].stage[a].meta = 1;
		at[w].stage[a].seal = NONE
	:: o == retire_root ->
		at[w].stage[RETIRED(a)].here = 1;
		at[w].stage[RETIRED(a)].root = at[w].tree[a];
		at[w].tree[a] = NONE
	:: o == retire_record ->
		at[w].stage[RETIRED(a)].here = 1;
		at[w].stage[RETIRED(a)].meta = 1;
		at[w].record[a] = NONE
	:: o == delete_root ->
		at[w].stage[DELETING(a)].here = 1;
		at[w].stage[DELETING(a)].root = at[w].tree[a];
		at[w].tree[a] = NONE
	:: o == symlink -> at[w].link = a
	:: o == rename_previous -> at[w].previous = a; at[w].link = NONE
	:: o == rename_current -> at[w].current = a; at[w].link = NONE
	:: o == unlink_current -> at[w].current = NONE
	:: o == exchange -> at[w].current = a; at[w].previous = b
	:: o == make_root -> at[w].stage[a].root = PART
	:: o == change_root -> change(w, a, b)
	:: o == fill_root -> fill(w, a, b)
	:: o == change_seal -> at[w].stage[a].seal = TORN
	:: o == fill_seal ->
		if
		:: at[w].stage[a].seal == TORN -> at[w].stage[a].seal = SOUND
		:: at[w].stage[a].seal == NONE && at[w].record[VERSION(a)] == TORN ->
			at[w].record[VERSION(a)] = SOUND
		:: else -> skip
		fi
	:: o == remove_stage ->
		if
		:: at[w].stage[a].root != NONE -> at[w].stage[a].root = PART
		:: else -> at[w].stage[a].meta = 0
		fi
	:: o == remove_root -> at[w].stage[a].root = NONE
	:: o == removed_stage -> clear_stage(w, a)
	:: o == remove_record -> at[w].record[a] = TORN
	:: o == removed_record -> at[w].record[a] = NONE
	:: o == remove_meta -> at[w].stage[a].meta = 0
	:: o == remove_link -> at[w].link = NONE
	fi
}
