/* rootman: any life of a store, with a power cut or a kill at any moment.
 *
 * What the commands do, step by step. The steps have the names that they have in
 * rootman/steps.py, the calls those that a test records of the real commands.
 * ../50-model.md says what this covers, and how it is checked.
 */

#ifdef ONE_LIFE
#include "life.pml"
#endif
#include "store.pml"
#include "trace.pml"
#include "machine.pml"

/* --- steps ---------------------------------------------------------------------------- */

/* links.publish */
inline publish() {
	call(fsync_store, 0, 0);
	call(freeze_thaw, 0, 0)
}

inline Fetch() { printf("Fetch\n") }

inline ClearObjects() { printf("ClearObjects\n") }

inline TakeSpare(m, n) {
	printf("TakeSpare\n");
	call(take_spare, SPARE(m), BUILDING(n))
}

inline CloneTree(n) {
	printf("CloneTree\n");
	call(mkdir, BUILDING(n), 0);
	call(make_root, BUILDING(n), 0)
}

inline StartEmpty(n) {
	printf("StartEmpty\n");
	call(mkdir, BUILDING(n), 0);
	call(make_root, BUILDING(n), 0)
}

/* m: the version of the spare that it began as, 0 for none. */
inline Apply(n, m) {
	printf("Apply\n");
	call(change_root, BUILDING(n), m);
	call(fill_root, BUILDING(n), n)
}

inline Record(n) {
	printf("Record\n");
	call(change_seal, BUILDING(n), 0);
	call(fill_seal, BUILDING(n), 0)
}

inline SealTree(n) {
	printf("SealTree\n");
#ifndef NAME_BEFORE_SYNCFS
	call(syncfs, 0, 0);
#endif
#ifdef NAME_BEFORE_RECORD
	call(move_root, n, 0);
	publish();
#endif
	call(move_seal, n, 0);
	call(fsync_trees, 0, 0);
#ifndef NAME_BEFORE_RECORD
	call(move_root, n, 0);
#ifndef EXCHANGE_BEFORE_SEAL_IS_DURABLE
	publish()
#endif
#endif
}

inline PointPrevious(n) {
	printf("PointPrevious\n");
	call(symlink, n, 0);
	call(rename_previous, n, 0);
	publish()
}

inline PointCurrent(n) {
	printf("PointCurrent\n");
	call(symlink, n, 0);
	call(rename_current, n, 0);
	publish()
}

byte old, new;                  /* what a fallback has read of current and previous */

inline Exchange() {
	printf("Exchange\n");
	old = now.current;
	new = now.previous;
	if
	:: can_exchange ->
#ifdef CURRENT_DELETED_THEN_CREATED
		call(unlink_current, 0, 0);
		call(symlink, new, 0);
		call(rename_current, new, 0);
		publish();
		call(symlink, old, 0);
		call(rename_previous, old, 0)
#else
		call(exchange, new, old)
#endif
	:: else ->
#ifdef CURRENT_FIRST
		call(symlink, new, 0);
		call(rename_current, new, 0);
		publish();
		call(symlink, old, 0);
		call(rename_previous, old, 0)
#else
		call(symlink, old, 0);
		call(rename_previous, old, 0);
		publish();
		call(symlink, new, 0);
		call(rename_current, new, 0)
#endif
	fi;
#ifndef EXIT_BEFORE_SWITCH_IS_DURABLE
	publish();
#endif
	old = NONE;
	new = NONE
}

inline remove(s) {
	call(remove_stage, s, 0);
	if
	:: now.stage[s].root != NONE -> call(remove_root, s, 0)
	:: else -> skip
	fi;
	call(removed_stage, s, 0)
}

inline remove_the_record(n) {
	call(remove_record, n, 0);
	call(removed_record, n, 0)
}

inline CloseStage(n) {
	printf("CloseStage\n");
	call(remove_stage, BUILDING(n), 0);
	call(removed_stage, BUILDING(n), 0)
}

inline Discard(s) {
	printf("Discard\n");
	remove(s)
}

inline Sweep() {
	printf("Sweep\n");
	call(remove_link, 0, 0)
}

inline DropRecord(n) {
	printf("DropRecord\n");
	remove_the_record(n)
}

inline Retire(m) {
	printf("Retire\n");
	call(mkdir, RETIRED(m), 0);
#ifdef RECORD_LEAVES_FIRST
	call(retire_record, m, 0);
	call(fsync_trees, 0, 0);
#endif
	call(retire_root, m, 0);
#ifndef CHANGED_BEFORE_NAME_IS_GONE
	publish();
#endif
#ifndef RECORD_LEAVES_FIRST
	call(retire_record, m, 0);
	call(fsync_trees, 0, 0)
#endif
}

inline RollForward(m, n) {
	printf("RollForward\n");
	call(change_root, RETIRED(m), 0);
	call(fill_root, RETIRED(m), n);
	call(remove_meta, RETIRED(m), 0);
	keep_as_spare(RETIRED(m), n)
}

inline CloneSpare(n) {
	printf("CloneSpare\n");
	call(mkdir, RETIRED(n), 0);
	call(make_root, RETIRED(n), 0);
	call(fill_root, RETIRED(n), n);
	keep_as_spare(RETIRED(n), n)
}

inline keep_as_spare(s, n) {
	call(change_seal, s, 0);
	call(fill_seal, s, 0);
	call(move_meta, s, 0);
	call(syncfs, 0, 0);
	call(keep_spare, s, SPARE(n));
	call(fsync_staging, 0, 0)
}

/* What was done by a process that died before it could say so to the disk. */
inline Publish() {
	printf("Publish\n");
	publish()
}

inline DeleteTree(n) {
	printf("DeleteTree\n");
	call(delete_root, n, 0);
	publish();
	remove_the_record(n);
	remove(DELETING(n))
}

/* --- commands ------------------------------------------------------------------------- */

/* What the command is to do, for judge(): links before and after, trees. */
mtype = { installs, switches, prunes };
mtype doing;
byte was_current, was_previous, will_current, will_previous;
byte older_current, older_previous;     /* links on the disk, where a kill left newer ones */
byte trees;                     /* those there were, as bits */
byte may_go;                    /* those that it may take */
byte makes;                     /* the version that it installs, NONE for none */

byte spare, fallen, victim;     /* as the planners choose them */

inline forget_command() {
	doing = 0;
	was_current = 0;
	was_previous = 0;
	older_current = 0;
	older_previous = 0;
	unsure = false;
	will_current = 0;
	will_previous = 0;
	trees = 0;
	may_go = 0;
	makes = 0
}

/* plan._switch gives these links. */
inline begin(kind, n) {
	doing = kind;
	was_current = now.current;
	was_previous = now.previous;
	older_current = at[DISK].current;
	older_previous = at[DISK].previous;
	unsure = !SWITCH_IS_DURABLE;
	will_current = (n == NONE -> now.current : n);
	will_previous = ((n == NONE || n == now.current || now.current == NONE) ->
		now.previous : now.current);
	for (i : 1 .. VERSIONS) {
		trees = trees | (now.tree[i] != NONE -> BIT(i) : 0)
	};
	i = 0
}

/* plan._switch */
inline switch_to(n) {
	if
	:: now.current == n -> skip
	:: now.current == NONE -> PointCurrent(n)
	:: else ->
		if
		:: now.previous == n -> skip
		:: else -> PointPrevious(n)
		fi;
		Exchange()
	fi
}

/* plan._best_spare: 0 for none. */
inline best_spare() {
	spare = NONE;
	for (i : 1 .. VERSIONS) {
		if
		:: now.stage[SPARE(i)].here && now.stage[SPARE(i)].root != NONE &&
		   now.stage[SPARE(i)].meta && (spare != now.current || spare == NONE) ->
			spare = i
		:: else -> skip
		fi
	};
	i = 0
}

/* plan.falling_out, and whether somebody uses the tree or has pinned it. */
inline falling_out(n) {
	fallen = (is_free && now.previous != n && now.previous != now.current ->
		now.previous : NONE)
}

bool trusted, is_free;          /* how an upgrade finds the spare and the tree that falls out */

/* upgrade.upgrade */
inline upgrade(n) {
	if
	:: SEALED(n) ->
		d_step { begin(switches, n); trusted = false; is_free = false };
		switch_to(n)
	:: else ->
		d_step {
			begin(installs, n);
			makes = n;
			best_spare();
			spare = (trusted -> spare : NONE);
			falling_out(n);
			if
			:: fallen != NONE -> may_go = BIT(fallen)
			:: else -> skip
			fi;
			trusted = false;
			is_free = false
		};
		Fetch();
		if
		:: spare != NONE -> TakeSpare(spare, n)
		:: spare == NONE && trees != 0 -> CloneTree(n)
		:: else -> StartEmpty(n)
		fi;
		Apply(n, spare);
		Record(n);
		SealTree(n);
#ifdef RETIRED_BEFORE_SWITCH
		if
		:: fallen != NONE -> Retire(fallen)
		:: else -> skip
		fi;
#endif
#ifdef STAGE_CLOSED_BEFORE_SWITCH
		CloseStage(n);
		switch_to(n);
#else
		switch_to(n);
		CloseStage(n);
#endif
		ClearObjects();
		if
		:: was_current != NONE -> leave_spare(n)
		:: else -> skip
		fi
	fi
}

/* upgrade.leave_spare */
inline leave_spare(n) {
	victim = 1;
	do
	:: victim <= VERSIONS ->
		if
		:: now.stage[SPARE(victim)].here -> Discard(SPARE(victim))
		:: else -> skip
		fi;
		victim++
	:: else -> break
	od;
	if
	:: fallen != NONE ->
		Retire(fallen);
		RollForward(fallen, n)
	:: else -> CloneSpare(n)
	fi
}

/* rollback.rollback, also --to n */
inline rollback(n) {
	if
	:: SEALED(n) && n != now.current ->
		d_step { begin(switches, n) };
		switch_to(n)
	:: else -> skip         /* refused */
	fi
}

#define MAY_BE_PRUNED(n) (SEALED(n) && n != now.current && n != now.previous)

/* retention.prune of the trees with these bits, but for those that are protected */
inline prune(bits) {
	d_step {
		begin(prunes, NONE);
		for (i : 1 .. VERSIONS) {
			may_go = may_go | ((bits & BIT(i)) && MAY_BE_PRUNED(i) -> BIT(i) : 0)
		};
		i = 0
	};
	victim = 1;
	do
	:: victim <= VERSIONS ->
		if
		:: may_go & BIT(victim) -> DeleteTree(victim)
		:: else -> skip
		fi;
		victim++
	:: else -> break
	od;
	ClearObjects()
}

/* --- recovery ------------------------------------------------------------------------- */

byte record, stage;             /* how far recovery has come */
bool unsettled;

/* Whether there is anything to recover, but for the spare that is kept. */
inline look_around() {
	best_spare();
	unsettled = now.link != NONE;
	for (i : 1 .. VERSIONS) {
		unsettled = unsettled || (now.record[i] != NONE && now.tree[i] == NONE)
	};
	for (i : 1 .. STAGES) {
		unsettled = unsettled || (now.stage[i].here && (spare == NONE || i != SPARE(spare)))
	};
	i = 0
}

/* plan.plan_recovery */
inline recover() {
	d_step { look_around() };
#ifndef RECOVERED_BEFORE_IT_IS_DURABLE
	if
	:: unsettled -> Publish()
	:: else -> skip
	fi;
#endif
#ifndef LITTER_STAYS
	if
	:: now.link != NONE -> Sweep()
	:: else -> skip
	fi;
#endif
	record = 1;
	do
	:: record <= VERSIONS ->
		if
		:: now.record[record] != NONE && now.tree[record] == NONE -> DropRecord(record)
		:: else -> skip
		fi;
		record++
	:: else -> break
	od;
	record = 0;
	stage = 1;
	do
	:: stage <= STAGES ->
		if
		:: !now.stage[stage].here || (spare != NONE && stage == SPARE(spare)) -> skip
		:: else ->
			if
			:: KIND(stage) == 0 && now.stage[stage].root == NONE &&
			   SEALED(VERSION(stage)) ->
#ifdef RECOVERY_REMOVES_WHAT_IS_SEALED
				DeleteTree(VERSION(stage));
				Discard(stage)
#else
				switch_to(VERSION(stage));
				CloseStage(VERSION(stage))
#endif
			:: else -> Discard(stage)
			fi
		fi;
		stage++
#ifdef RECOVERY_NEVER_ENDS
	:: stage > STAGES && unsettled -> publish(); stage = 1
	:: stage > STAGES && !unsettled -> break
#else
	:: else -> break
#endif
	od;
	stage = 0;
	unsettled = false;
	spare = NONE
}

/* Nothing is left to recover: the state settled of ../40-transitions.md. */
inline check_settled() {
	assert(now.link == NONE);
	v = 0;
	for (i : 1 .. STAGES) {
		if
		:: now.stage[i].here ->
			assert(KIND(i) == 3 && now.stage[i].root != NONE && now.stage[i].meta);
			v++
		:: else -> skip
		fi
	};
	assert(v <= 1);
	for (i : 1 .. VERSIONS) {
		assert(now.record[i] == NONE || now.tree[i] != NONE)
	}
}

#define LINKS_ARE(c, p) (now.current == (c) && now.previous == (p))
#define IS_DONE LINKS_ARE(will_current, will_previous)
#define IS_UNDONE \
	(LINKS_ARE(was_current, was_previous) || LINKS_ARE(older_current, older_previous))
/* A rollback, or an upgrade to a tree that is here, may be cut off within the switch. */
#define IS_HALF_DONE \
	(doing == switches && was_current != NONE && (LINKS_ARE(was_current, will_current) || \
	 (!can_exchange && LINKS_ARE(was_current, was_current))))

/* After recovery: old or new, never a mix. */
inline judge() {
	check_settled();
	if
	:: doing != 0 ->
		assert(IS_DONE || IS_UNDONE || IS_HALF_DONE);
		for (i : 1 .. VERSIONS) {
			if
			:: now.tree[i] != NONE ->
				assert((trees & BIT(i)) || (i == makes && IS_DONE))
			:: now.tree[i] == NONE && (may_go & BIT(i)) -> assert(IS_DONE)
			:: else -> assert(!(trees & BIT(i)) && !(i == makes && IS_DONE))
			fi
		}
	:: else -> skip
	fi
}

/* After exit 0: it is done, and durable for every loader. */
inline check_done() {
	judge();
	assert(doing == 0 || IS_DONE);
	/* Where there was nothing to do, whoever did it may have been killed. */
	assert(doing == 0 || (IS_UNDONE && may_go == 0) || SWITCH_IS_DURABLE);
	assert(makes == NONE || now.tree[makes] == makes);
	for (i : 1 .. VERSIONS) {
		assert(doing != prunes || !(may_go & BIT(i)) || now.tree[i] == NONE)
	}
}

/* --- a life --------------------------------------------------------------------------- */

byte n;                         /* the version, or the bits of versions, that are asked for */
inline any_command() {
	if
	:: atomic {
		select(n : 1 .. VERSIONS);
		select(trusted : 0 .. 1);
		select(is_free : 0 .. 1);
		printf("# upgrade %d\n", n)
	   };
	   upgrade(n)
	:: atomic { select(n : 1 .. VERSIONS); printf("# rollback --to %d\n", n) };
	   rollback(n)
	:: atomic { select(n : 1 .. (BIT(VERSIONS + 1) - 1)); printf("# prune %d\n", n) };
	   prune(n)
	fi
}

inline forget_everything() {
	forget_call();
	n = 0;
	trusted = false;
	is_free = false;
	old = NONE;
	new = NONE;
	spare = NONE;
	fallen = NONE;
	victim = NONE;
	record = 0;
	stage = 0;
	unsettled = false;
	resting = false
}

/* One life without a power cut, to see the calls in their order: life.pml is written for it. */
#ifdef ONE_LIFE
#define DO(command) \
	printf("$\n"); \
	recover(); \
	command; \
	d_step { forget_command(); forget_everything() };
#endif

active proctype Device() {
#ifdef ONE_LIFE
	can_exchange = true;
	{ LIFE } unless { interrupted; d_step { interrupted = false; forget_everything() } };
	THEN
#else
	if
	:: can_exchange = true
	:: can_exchange = false
	fi;
	do
	:: {
		atomic {
			do
			:: recover();
				if
				:: resting -> break
				:: else ->
					d_step { printf("# recovered\n"); judge(); forget_command() };
					resting = true
				fi
			od;
			forget_everything()
		};
end_idle: progress_idle:
		!IS_OVER;
		call(rest, 0, 0);
		atomic {
			any_command();
			d_step {
				printf("# done\n");
				check_done();
				forget_command();
				forget_everything()
			}
		}
	   } unless {
		interrupted;
progress_interrupted:
		d_step { interrupted = false; forget_everything() }
	   }
	od
#endif
}
