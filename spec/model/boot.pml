/* Trials: any life of a machine that upgrades, rolls back, boots and loses its power.
 *
 * The boot state, the links and what the loader makes of them, step by step (../50-boot.md). What
 * is in a store besides, and how links get to the disk, is in rootman.pml; here a change of the
 * links is old or new after a cut, and for the loader, which replays no journal, each link by
 * itself, until the next freezing.
 *
 * Versions are used again: a number that no link names is published anew, and is good or not.
 */

#ifndef TRIES
#define TRIES 2
#endif
#define VERSIONS 3
#define NONE 0
#define BIT(v) (1 << (v))

/* What a tree is, as only its boots show. */
#define WORKS 1
#define FAILS_EARLY 2           /* nothing of it runs */
#define FAILS_LATE 3            /* it runs, and its checks do not pass */
byte kind[VERSIONS + 1];

byte trees = BIT(1) | BIT(2);   /* complete ones, as bits */
byte current = 2, previous = 1;
byte was_current, was_previous; /* before the change that is under way, if one is */
byte will_current, will_previous;
bool is_changing;
bool is_new_link;               /* previous is to get another inode, no name of one that was there */
byte stage;                     /* staging/building.N of a tree that is sealed */

/* The boot state. */
byte pending, tries, bad;

byte booted;                    /* the tree that runs, NONE while none does */
byte failures;                  /* boots since a tree that works has run */
byte n, seen_current, seen_previous, counted;

#define IS_BAD(v) ((bad & BIT(v)) != 0)
#define IS_THERE(v) ((v) != NONE && (trees & BIT(v)) != 0)
#define ALL_BAD ((trees & bad) == trees)
#define FREE(v) (!IS_THERE(v))

/* A power cut may come before whatever stands behind it. */
#define MAY_BE_CUT if :: true :: goto cut fi

/* trial.begin: SaveBoot. */
inline save_pending(v) {
	d_step {
		printf("> SaveBoot: %d is pending\n", v);
		assert(!IS_BAD(v));             /* BT-13: nobody has asked for that here */
#ifndef UNPROVEN_IS_GOOD
		if
		:: pending != NONE && pending != v -> bad = bad | BIT(pending)
		:: else -> skip
		fi;
#endif
		pending = v;
		tries = TRIES
	}
}

inline save_mark(v, is_bad) {
	d_step {
		printf("> SaveBoot: %d is bad: %d\n", v, is_bad);
		if
		:: pending == v -> pending = NONE; tries = 0
		:: else -> skip
		fi;
		bad = (is_bad -> bad | BIT(v) : bad & ~BIT(v))
	}
}

inline change_links(c, p) {
	d_step {
		is_new_link = (c == current);
		was_current = current;
		was_previous = previous;
		will_current = c;
		will_previous = p;
		current = will_current;
		previous = will_previous;
		is_changing = true;
		printf("> current is %d, previous is %d\n", c, p)
	}
}

inline freeze() {
	d_step {
		is_changing = false;
		is_new_link = false;
		was_current = NONE;
		was_previous = NONE;
		will_current = NONE;
		will_previous = NONE
	}
}

/* switching.plan_switch */
#define SWITCH(v) \
	if \
	:: current == v -> skip \
	:: else -> \
		if \
		:: previous == v -> skip \
		:: else -> \
			change_links(current, v); MAY_BE_CUT; \
			freeze(); MAY_BE_CUT \
		fi; \
		change_links(v, current); MAY_BE_CUT; \
		freeze(); MAY_BE_CUT \
	fi

/* The loader: choice.choose, of what it sees. */
inline settle() {
	if
	:: pending != NONE && tries == 0 ->
		bad = bad | BIT(pending);
		pending = NONE
	:: else -> skip
	fi
}

inline choose() {
	settle();
	counted = NONE;
	if
	:: IS_THERE(seen_current) && !IS_BAD(seen_current) -> n = seen_current
	:: !(IS_THERE(seen_current) && !IS_BAD(seen_current)) &&
	   IS_THERE(seen_previous) && !IS_BAD(seen_previous) -> n = seen_previous
	:: else ->
		n = VERSIONS;
		do
		:: n > 0 && !(IS_THERE(n) && (ALL_BAD || !IS_BAD(n))) -> n--
		:: else -> break
		od
	fi;
	assert(IS_THERE(n));                    /* BT-4: there is always a candidate */
	assert(!IS_BAD(n) || ALL_BAD);          /* BT-5 */
	if
	:: n == pending -> counted = n
	:: else -> skip
	fi
}

#define COUNT \
	if \
	:: counted != NONE -> tries-- \
	:: else -> skip \
	fi

active proctype Machine() {
	kind[1] = WORKS;
	kind[2] = WORKS;
boot:
	atomic {
		seen_current = current;
		seen_previous = previous;
		if
		:: is_changing -> seen_current = was_current
		:: true
		fi;
		if
		:: is_changing -> seen_previous = was_previous
		:: is_new_link -> seen_previous = NONE          /* there, and not readable yet */
		:: true
		fi;
		if
		:: pending != NONE -> tries = 0                /* U-Boot has counted too far (BT-32) */
		:: true
		fi;
		d_step {
			choose();
#ifndef COUNTED_BY_WHAT_BOOTS
			COUNT;
#endif
			printf("! boots %d, attempts left %d\n", n, tries)
		};
		if
		:: kind[n] == FAILS_EARLY ->
			failures++;
			/* BT-4: but for its last one all attempts were those of a tree on trial. */
			assert(failures <= TRIES || ALL_BAD);
			failures = (failures > TRIES -> TRIES : failures);
			goto boot
		:: else -> booted = n
		fi;
#ifdef COUNTED_BY_WHAT_BOOTS
		COUNT;
#endif
		/* The kernel replays the journal. */
		if
		:: is_changing -> current = was_current; previous = was_previous
		:: true
		fi
	};
	MAY_BE_CUT;
	if
	:: kind[booted] == WORKS -> failures = 0
	:: else ->
		/* Whoever takes its place has to be one that works. */
		assert(booted == pending || ALL_BAD)
	fi;

	/* plan.plan_recovery */
	freeze();
	if
	:: stage != NONE ->
		if
#ifndef RECOVERY_TRIES_WHAT_IS_BAD
		:: IS_BAD(stage) -> skip
#endif
		:: else ->
#ifndef RECOVERY_FORGETS_THE_TRIAL
			if
			:: current != stage && pending != stage -> save_pending(stage); MAY_BE_CUT
			:: else -> skip
			fi;
#endif
			SWITCH(stage)
		fi;
		stage = NONE
	:: else -> skip
	fi;
	if
	:: IS_BAD(current) && !ALL_BAD ->
		atomic {
			n = previous;
			if
			:: IS_THERE(n) && !IS_BAD(n) && !(n == pending && tries == 0) -> skip
			:: else ->
				n = VERSIONS;
				do
				:: n > 0 && (!IS_THERE(n) || IS_BAD(n) || (n == pending && tries == 0)) -> n--
				:: else -> break
				od
			fi
		};
		if
		:: n != NONE -> SWITCH(n)
		:: else -> skip
		fi
	:: else -> skip
	fi;

	assert(!IS_BAD(current) || ALL_BAD || booted != current);       /* BT-11 */

	/* any command */
	if
	:: atomic {
		current != NONE &&
#ifndef UPGRADE_ON_TRIAL
		current != pending &&
#endif
		(FREE(1) || FREE(2) || FREE(3)) ->
		n = 1;
		do
		:: !FREE(n) -> n++
		:: else -> break
		od;
		if
		:: kind[n] = WORKS
		:: kind[n] = FAILS_EARLY
		:: kind[n] = FAILS_LATE
		fi;
		bad = bad & ~BIT(n);    /* it is another version */
		if
		:: pending == n -> pending = NONE; tries = 0
		:: else -> skip
		fi;
		trees = trees | BIT(n);
		stage = n;
		printf("> SealTree %d\n", n)
	   };
	   MAY_BE_CUT;
#ifndef BLOCK_AFTER_SWITCH
	   save_pending(stage);
	   MAY_BE_CUT;
#endif
	   n = previous;        /* what falls out */
	   SWITCH(stage);
#ifdef BLOCK_AFTER_SWITCH
	   save_pending(stage);
	   MAY_BE_CUT;
#endif
	   stage = NONE;
	   MAY_BE_CUT;
	   atomic {
		if
		:: n != booted && n != current && n != previous -> trees = trees & ~BIT(n)
		:: else -> skip
		fi
	   }
	:: previous != NONE && !IS_BAD(previous) && IS_THERE(previous) ->
	   printf("# rollback\n");
	   change_links(previous, current);
	   MAY_BE_CUT;
	   freeze()
	:: true                         /* nothing, and a reboot */
	fi;;
	MAY_BE_CUT;

	/* health: what it says of the tree that runs */
	if
	:: kind[booted] == WORKS ->
		if
		:: booted == pending -> save_mark(booted, false)
		:: true                 /* nobody says so: it is counted for as long */
		fi
	:: kind[booted] == FAILS_LATE && booted == pending ->
		if
		:: tries > 0 -> goto failed
		:: else -> skip
		fi;
		save_mark(booted, true);
		MAY_BE_CUT;
		if
		:: current == booted && previous != NONE && !IS_BAD(previous) -> SWITCH(previous)
		:: else -> skip
		fi;
		goto failed
	:: else -> skip                 /* not on trial: it stays up, as bad as it is */
	fi;

cut:
	booted = NONE;
	d_step { n = NONE; counted = NONE; seen_current = NONE; seen_previous = NONE };
	goto boot;
failed:
	failures++;
	assert(failures <= TRIES || ALL_BAD);
	failures = (failures > TRIES -> TRIES : failures);
	goto cut
}
