package leasesim

import "strings"

// Rule is a set of rules of the lease protocol.
type Rule uint32

// The rules.
const (
	// RefuseLate: a drone refuses a spawn whose renewal was sent T_holder ago.
	RefuseLate Rule = 1 << iota
	// Tombstones: a refusal, an end, or a terminate of an unknown id, is remembered.
	Tombstones
	// OwnAttempt: an answer is credited to the attempt that it names.
	OwnAttempt
	// FromSend: a deadline counts from the send, not from the receipt of the answer.
	FromSend
	// LeaseClock: deadlines stand on the lease clock, not on the wall clock.
	LeaseClock
	// JoinConditional: a join ends only the epoch that it names.
	JoinConditional
	// JoinLatest: a drone believes only the answer to its latest join.
	JoinLatest
	// DronesWord: an undelivered spawn's key stays until its drone has spoken.
	DronesWord
	// LapseRecorded: a lapse is a conditional update in the transaction that moves the key.
	LapseRecorded
	// Inventory: after a failover nothing is granted for one T_store, and no drone
	// is renewed or granted to before it gave its inventory. Without it only
	// take-overs wait.
	Inventory
	// InventoryOnce: an inventory counts only in the store epoch that it names, once.
	InventoryOnce
	// SpawnStoreEpoch: a drone refuses spawns of older store epochs.
	SpawnStoreEpoch
	// DatabaseClock: nothing lapses for one T_store after the database's clock stepped.
	DatabaseClock
	// TombstoneUntilHeard: a tombstone's life counts from the store's
	// acknowledgement of what it stands for, because until then the spawn may be
	// sent again with a newer grant.
	TombstoneUntilHeard
	// GrantWithAction: a spawn that is sent again takes its grant from the
	// transaction that still saw the action.
	GrantWithAction
)

var ruleNames = []string{
	"late spawns refused",
	"tombstones",
	"answer credited to its own attempt",
	"deadline from send",
	"lease clock",
	"join conditional",
	"latest join's answer only",
	"undelivered spawn waits for the drone's word",
	"lapse recorded before it is used",
	"inventory after a failover",
	"inventory believed once, in its epoch",
	"store epoch in spawns",
	"database clock watched",
	"tombstone until the store has heard",
	"grant read with its action",
}

// String names the rules of the set.
func (r Rule) String() string {
	if r == 0 {
		return "no rule"
	}
	var names []string
	for i, n := range ruleNames {
		if r&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// Rules lists every rule.
func Rules() []Rule {
	rs := make([]Rule, len(ruleNames))
	for i := range rs {
		rs[i] = 1 << i
	}
	return rs
}
