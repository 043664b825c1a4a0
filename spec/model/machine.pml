/* The machine: it carries out calls in its cache, brings them to the disk when it is told
 * to or as it likes, loses its power at any moment, and boots.
 *
 * pending has what was done in the cache and is not known to be on the disk, oldest first.
 * A power cut keeps of it what the disk allows:
 *   by default a journal, as ext4, XFS and btrfs have: the names up to some moment, all in
 *   order; the content of files may be missing nevertheless.
 *   with SCATTERED: any of it, each name by itself.
 */

#ifndef MOST
#define MOST 12                 /* Where more is pending, the oldest has reached the disk. */
#endif

typedef Call {
	mtype op;
	byte x, y
}
Call pending[MOST];
byte waiting;

/* The call that is asked for; 0 is none. */
mtype wanted;
byte first, second;

bool resting;                   /* nothing may change: recovery has been done before */
bool interrupted;               /* the process died, alone or with the machine */
bool unsure;                    /* a killed process left links that may not be in place */
bool can_exchange;              /* whether the filesystem has RENAME_EXCHANGE */

inline call(o, a, b) {
	d_step { first = a; second = b; wanted = o };
	wanted == 0
}

inline forget_call() {
	wanted = 0;
	first = 0;
	second = 0
}

/* What a loader may find that does not replay the journal: for each name everything that it
 * was since the last freezing, as the blocks are written in no order. */
#define BIT(v)     (1 << (v))
#define UNREADABLE BIT(VERSIONS + 1)    /* of a link: the name is there, its inode not yet */
#define ABSENT 1
#define WHOLE  2
#define MIXED  4
byte seen_current = BIT(NONE);
byte seen_previous = BIT(NONE);
byte seen_tree[VERSIONS + 1] = ABSENT;

/* What there once was at its place on the disk has to be there ever after. */
bool had_tree, had_current, had_previous;

#define SWITCH_IS_DURABLE \
	(at[DISK].current == now.current && at[DISK].previous == now.previous && \
	 seen_current == BIT(now.current) && seen_previous == BIT(now.previous))

#define NAME_IS_GONE(n) (at[DISK].tree[n] == NONE && seen_tree[n] == ABSENT)

/* No part of the state; a breadth-first search has no such thing. */
#ifdef BREADTH_FIRST
#define scratch
#else
#define scratch hidden
#endif
scratch mtype what;
scratch byte i, one, other, next, kept, chosen, v;
scratch byte falls;

/* All that is in w is in its place. */
inline settle_in_place(w) {
	seen_current = BIT(at[w].current);
	seen_previous = BIT(at[w].previous);
	for (i : 1 .. VERSIONS) {
		seen_tree[i] = (at[w].tree[i] == NONE -> ABSENT : (at[w].tree[i] == i -> WHOLE : MIXED))
	}
}

/* S1 and S2 on w: names of trees are those of whole trees with their record, links resolve. */
inline check_names(w) {
	assert(RESOLVES(w));
	assert(!had_current || at[w].current != NONE);
	assert(!had_previous || at[w].previous != NONE);
	for (i : 1 .. VERSIONS) {
		assert(at[w].tree[i] == NONE || at[w].tree[i] == i);
		assert(at[w].tree[i] == NONE || at[w].record[i] == SOUND || w == CACHE)
	}
}

/* The loader that replays the journal: current, else previous, else the newest tree. */
inline boot_from(w) {
	chosen = at[w].current;
	if
	:: chosen != NONE && at[w].tree[chosen] != NONE -> skip
	:: else -> chosen = at[w].previous
	fi;
	if
	:: chosen != NONE && at[w].tree[chosen] != NONE -> skip
	:: else ->
		chosen = NONE;
		for (i : 1 .. VERSIONS) {
			if
			:: at[w].tree[i] != NONE -> chosen = i
			:: else -> skip
			fi
		}
	fi;
	assert(chosen != NONE || !had_tree);
	assert(chosen == NONE || at[w].tree[chosen] == chosen)
}

/* Through a link, GRUB boots any of the trees that it may lead to: each has to be whole, at
 * its place and once the journal is replayed. falls says whether it may find none. */
inline boot_by(seen) {
	falls = (seen & (BIT(NONE) | UNREADABLE)) != 0;
	for (i : 1 .. VERSIONS) {
		if
		:: seen & BIT(i) ->
			assert(!(seen_tree[i] & MIXED));
			falls = falls || (seen_tree[i] & ABSENT);
			assert(at[DISK].tree[i] == i || !(seen_tree[i] & WHOLE))
		:: else -> skip
		fi
	}
}

/* The loader that does not replay the journal: the same choice, of what is in its place. */
inline boot_in_place() {
	falls = had_tree;
	if
	:: falls -> boot_by(seen_current)
	:: else -> skip
	fi;
	if
	:: falls -> boot_by(seen_previous)
	:: else -> skip
	fi;
	if
	:: falls ->
		for (i : 1 .. VERSIONS) {
			assert(!(seen_tree[i] & MIXED));
			falls = falls && seen_tree[i] != WHOLE
		};
		assert(!falls)
	:: else -> skip
	fi
}

/* What a call adds to what may be in place. */
inline scatter(o, a, b) {
	if
	:: o == move_root -> seen_tree[a] = seen_tree[a] | MIXED
	:: o == retire_root || o == delete_root -> seen_tree[a] = seen_tree[a] | ABSENT
	:: o == change_root && KIND(a) == 2 && (seen_tree[VERSION(a)] & WHOLE) ->
		seen_tree[VERSION(a)] = seen_tree[VERSION(a)] | MIXED
	:: o == rename_previous -> seen_previous = seen_previous | BIT(a) | UNREADABLE
	:: o == rename_current -> seen_current = seen_current | BIT(a) | UNREADABLE
	:: o == unlink_current -> seen_current = seen_current | BIT(NONE)
	:: o == exchange ->
		/* The inode of a link goes with it. */
		v = (seen_current | seen_previous) & UNREADABLE;
		seen_current = seen_current | BIT(a) | v;
		seen_previous = seen_previous | BIT(b) | v
	:: else -> skip
	fi
}

#define CHANGES_LEAVING(o, a) \
	((o == change_root || o == remove_stage) && (KIND(a) == 1 || KIND(a) == 2))

/* What must be so before a call. */
inline check_call(o, a, b) {
	assert(o != symlink || now.link == NONE);       /* else EEXIST */
	assert(o != mkdir || !now.stage[a].here);
	assert((o != take_spare && o != keep_spare) || !now.stage[b].here);
	assert(o != move_root || now.tree[a] == NONE);
	assert(o != move_seal || now.record[a] == NONE);
	/* S1, S3: nothing in a tree changes before its name is gone and the switch is durable. */
	if
	:: CHANGES_LEAVING(o, a) ->
		assert(SWITCH_IS_DURABLE);
		assert(now.tree[VERSION(a)] != NONE || NAME_IS_GONE(VERSION(a)))
	:: else -> skip
	fi
}

#define IS_SYNC(o) \
	(o == syncfs || o == freeze_thaw || o == fsync_store || o == fsync_trees || \
	 o == fsync_staging)

#ifdef SCATTERED
#define MAY_BE_SKIPPED(change) true
#define FORCES(o, change) \
	(o == syncfs || o == freeze_thaw || \
	 (o == fsync_store && IN_STORE(change)) || (o == fsync_trees && IN_TREES(change)) || \
	 (o == fsync_staging && IN_STAGING(change)))
#else
#define MAY_BE_SKIPPED(change) IS_CONTENT(change)
#define FORCES(o, change) \
	(o == syncfs || o == freeze_thaw || (IS_SYNC(o) && !IS_CONTENT(change)))
#endif

inline change_cache(o, a, b) {
	assert(!resting);
	check_call(o, a, b);
	effect(CACHE, o, a, b);
	scatter(o, a, b);
	check_names(CACHE);
	pending[waiting].op = o;
	pending[waiting].x = a;
	pending[waiting].y = b;
	waiting++
}

/* What is pending at index k reaches the disk. */
inline write(k) {
	what = pending[k].op;
	one = pending[k].x;
	other = pending[k].y;
	effect(DISK, what, one, other)
}

inline forget_from(n) {
	do
	:: waiting > n ->
		waiting--;
		pending[waiting].op = 0;
		pending[waiting].x = 0;
		pending[waiting].y = 0
	:: else -> break
	od
}

/* Bring to the disk what the call o forces, and the oldest where too much waits. */
inline write_back(o) {
	kept = 0;
	next = 0;
	do
	:: next < waiting && (FORCES(o, pending[next].op) || (next == 0 && waiting == MOST)) ->
		write(next);
		next++
	:: next < waiting && !(FORCES(o, pending[next].op) || (next == 0 && waiting == MOST)) ->
		pending[kept].op = pending[next].op;
		pending[kept].x = pending[next].x;
		pending[kept].y = pending[next].y;
		kept++;
		next++
	:: else -> break
	od;
	forget_from(kept);
	if
	:: o == freeze_thaw ->
		settle_in_place(DISK);
		had_current = had_current || now.current != NONE;
		had_previous = had_previous || now.previous != NONE;
		for (i : 1 .. VERSIONS) {
			had_tree = had_tree || now.tree[i] != NONE
		}
	:: else -> skip
	fi
}

/* What was in the cache alone is lost, and the journal is replayed. */
inline restart() {
	check_names(DISK);
	boot_in_place();
	boot_from(DISK);
	copy_disk();
	forget_from(0);
	settle_in_place(DISK)
}

inline copy_disk() {
	now.current = at[DISK].current;
	now.previous = at[DISK].previous;
	now.link = at[DISK].link;
	for (i : 1 .. VERSIONS) {
		now.tree[i] = at[DISK].tree[i];
		now.record[i] = at[DISK].record[i]
	};
	for (i : 1 .. STAGES) {
		now.stage[i].here = at[DISK].stage[i].here;
		now.stage[i].root = at[DISK].stage[i].root;
		now.stage[i].meta = at[DISK].stage[i].meta;
		now.stage[i].seal = at[DISK].stage[i].seal
	}
}

#ifdef CUTS                     /* so many, and the life ends after the recovery from the last */
byte cuts;
#define IS_CUT_ALLOWED (cuts < CUTS)
#define COUNT_CUT cuts++
#define IS_OVER (cuts == CUTS)
#else
#define IS_CUT_ALLOWED true
#define COUNT_CUT skip
#define IS_OVER false
#endif

#ifdef ONE_LIFE
byte kill_at;                   /* before which call, of its kind, the process is killed */
#define IS_KILLED (wanted == KILL_BEFORE && kill_at == 1)
#else
#define IS_KILLED false
#endif

byte reached;                   /* of what is pending, how much a power cut has decided on */

active proctype Machine() {
end:	do
	:: d_step {
		wanted != 0 && !interrupted && !IS_KILLED ->
		tell(wanted, first, second);
#ifdef ONE_LIFE
		kill_at = (wanted == KILL_BEFORE && kill_at > 0 -> kill_at - 1 : kill_at);
#endif
		if
		:: IS_SYNC(wanted) || wanted == rest -> skip
		:: else -> change_cache(wanted, first, second)
		fi;
		write_back(wanted);
		forget_call()
	   }
#ifdef ONE_LIFE
	:: d_step { IS_KILLED && !interrupted -> interrupted = true; kill_at = 0 }
#else
	/* The process is killed; not again before the links that it changed are in place. */
#ifndef NO_KILL
	:: d_step { !interrupted && wanted != 0 && wanted != rest && !unsure -> interrupted = true; printf("! killed\n") }
#endif
	/* The power is cut. */
	:: atomic {
		!interrupted && wanted != 0 && IS_CUT_ALLOWED ->
		do
		:: reached < waiting ->
			d_step { write(reached); reached++ }
		:: reached < waiting && MAY_BE_SKIPPED(pending[reached].op) -> reached++
		:: break
		od;
		d_step {
			printf("! power cut, %d of %d pending were decided on\n", reached, waiting);
			restart();
			reached = 0;
			interrupted = true;
			COUNT_CUT
		}
	   }
#endif
	od
}
